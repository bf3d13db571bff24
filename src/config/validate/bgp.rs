//! What speaks BGP, as files say it (BGP-02, BGP-09).

use crate::config::schema::gateway as written;
use crate::config::yaml::diagnostic::{Report, Spanned};
use crate::model::BgpSettings;

/// BGP-02: Azure's own, and IANA's.
const RESERVED_ASNS: [std::ops::RangeInclusive<u32>; 8] = [
    8074..=8075,
    12076..=12076,
    23456..=23456,
    64496..=64511,
    65515..=65515,
    65517..=65520,
    65535..=65551,
    u32::MAX..=u32::MAX,
];

/// Both parts, or nothing to speak BGP by.
pub(super) fn settings(written: Option<&Spanned<written::BgpSettings>>, report: &mut Report) -> Option<BgpSettings> {
    let settings = written?;
    let (Some(asn), Some(addresses)) = (&settings.value.asn, &settings.value.addresses) else {
        report
            .error(settings.at, "BGP settings without an end")
            .rule("VPN-11")
            .expected("`asn` and `bgpPeeringAddress`");
        return None;
    };
    check_asn(asn, report);
    let [address] = addresses.value[..] else {
        report.error(addresses.at, "a device speaks BGP at one address").rule("VPN-11").expected("one address");
        return None;
    };
    Some(BgpSettings { asn: asn.value, address })
}

pub(super) fn check_asn(asn: &Spanned<u32>, report: &mut Report) {
    if RESERVED_ASNS.iter().any(|reserved| reserved.contains(&asn.value)) {
        report
            .error(asn.at, format!("AS number {} is reserved", asn.value))
            .rule("BGP-02")
            .expected("a number of your own, such as 64512 to 65514");
    }
}
