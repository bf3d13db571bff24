//! A question for real packets, made from the model's answer to it.

use std::net::IpAddr;
use std::time::Duration;

use crate::analysis::{Forecast, Probe};
use crate::lab::traffic::Trial;
use crate::model::Network;

/// How long to wait for an answer that should come.
const EXPECTING: Duration = Duration::from_secs(3);
/// How long to wait for one that should not come.
const DOUBTING: Duration = Duration::from_secs(1);

/// From the interface that the question names, or from whichever the guest chooses.
pub(super) fn trial(
    network: &Network,
    forecast: &Forecast,
    probe: Probe,
    names_interface: bool,
    expecting: bool,
) -> Result<Trial, String> {
    let attachments = network.attachments();
    let attachment = |index: Option<usize>| index.and_then(|index| attachments.get(index).copied());
    let source: IpAddr = forecast.from.address;
    Ok(Trial {
        from: attachment(forecast.from.attachment)
            .ok_or("no machine has the source address, or its machine is stopped")?,
        bind: names_interface.then_some(source),
        to: attachment(forecast.to.attachment),
        destination: forecast.to.address,
        listener: network.behind(forecast.to.address).unwrap_or(forecast.to.address),
        probe,
        patience: if expecting { EXPECTING } else { DOUBTING },
        follow: !forecast.guest_rules.is_empty(),
    })
}
