//! Microsoft's list of service tags, as its `ServiceTags_Public.json` has it: read whole, and written for a few tags.
//!
//! The fields that say nothing about addresses are left out. vnet brings a small synthetic list, which a topology may
//! replace by a downloaded one.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use ipnet::IpNet;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::model::PublishedTag;

/// The list that vnet brings: documentation addresses, so that no lab uses real addresses (TAG-13).
const SYNTHETIC: &str = include_str!("../../data/service-tags.json");

#[derive(Deserialize, Serialize)]
struct File {
    values: Vec<Tag>,
}

#[derive(Deserialize, Serialize)]
struct Tag {
    name: String,
    properties: Properties,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    /// Empty for all regions.
    #[serde(default)]
    region: String,
    address_prefixes: Vec<Prefix>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Prefix(IpNet);

/// A list, ready to look names up in.
pub(super) struct Published {
    tags: Vec<PublishedTag>,
    /// By name in lower case: Azure compares them so.
    by_name: HashMap<String, usize>,
}

impl Published {
    pub(super) fn synthetic() -> Self {
        Self::parse(SYNTHETIC, "").expect("the list in the program is well-formed: a test reads it")
    }

    /// `file` is what to call the text in an error: `FILE:LINE:COLUMN: what is wrong`.
    pub(super) fn parse(text: &str, file: &str) -> Result<Self, String> {
        let parsed: File = serde_json::from_slice(text.trim_start_matches('\u{feff}').as_bytes()).map_err(|error| {
            let message = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            let message = message.strip_suffix(&place).unwrap_or(&message);
            format!("{file}:{}:{}: {message}", error.line(), error.column())
        })?;
        let tags: Vec<_> = parsed.values.into_iter().map(published).collect();
        let mut by_name = HashMap::new();
        for (i, tag) in tags.iter().enumerate() {
            if by_name.insert(tag.name.to_lowercase(), i).is_some() {
                return Err(format!("{file}: there are two tags `{}`", tag.name));
            }
        }
        Ok(Self { tags, by_name })
    }

    pub(super) fn find(&self, name: &str) -> Option<&PublishedTag> {
        self.by_name.get(&name.to_lowercase()).map(|tag| &self.tags[*tag])
    }

    /// Names that may have been meant: there are thousands, so only those that begin alike and are as specific.
    pub(super) fn like<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let alike = |other: &str| {
            let same = other.get(..1).zip(name.get(..1)).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
            same && other.contains('.') == name.contains('.')
        };
        self.tags.iter().map(|tag| tag.name.as_str()).filter(move |other| alike(other))
    }
}

/// Whether the list that vnet brings has a tag of this name.
pub fn is_service_tag(name: &str) -> bool {
    static LIST: LazyLock<Published> = LazyLock::new(Published::synthetic);
    LIST.find(name).is_some()
}

/// A list of these tags alone.
pub fn service_tags_text(tags: &[PublishedTag]) -> String {
    let tag = |tag: &PublishedTag| Tag {
        name: tag.name.clone(),
        properties: Properties {
            region: tag.region.clone().unwrap_or_default(),
            address_prefixes: tag.prefixes.iter().copied().map(Prefix).collect(),
        },
    };
    let file = File { values: tags.iter().map(tag).collect() };
    serde_json::to_string(&file).expect("strings and numbers can be written")
}

fn published(tag: Tag) -> PublishedTag {
    let mut prefixes: Vec<_> = tag.properties.address_prefixes.into_iter().map(|prefix| prefix.0).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    let region = Some(tag.properties.region.to_lowercase()).filter(|region| !region.is_empty());
    PublishedTag { name: tag.name, region, prefixes: prefixes.into() }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Prefix;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address range such as 203.0.113.0/24")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Prefix, E> {
                let net: Result<IpNet, _> = text.parse();
                net.map(|net| Prefix(net.trunc())).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    const TWO: &str = r#"{"changeNumber": 300, "cloud": "Public", "values": [
        {"name": "Storage", "id": "Storage", "properties": {"region": "", "regionId": 0, "platform": "Azure",
          "systemService": "AzureStorage", "networkFeatures": ["API", "NSG", "UDR", "FW", "VSE"],
          "addressPrefixes": ["203.0.113.16/28", "2001:db8::/48", "203.0.113.0/28", "203.0.113.16/28"]}},
        {"name": "Storage.WestEurope", "properties": {"region": "westeurope", "addressPrefixes": []}}]}"#;

    #[test]
    fn tag_13_the_list_in_the_program_nests_storage_in_azure_cloud() {
        let published = Published::synthetic();
        let prefixes = |name: &str| IpNet::aggregate(&published.find(name).unwrap().prefixes.to_vec());
        let inside = |inner: &str, outer: &str| {
            let outer = prefixes(outer);
            prefixes(inner).iter().all(|inner| outer.iter().any(|outer| outer.contains(inner)))
        };
        for tag in &published.tags {
            assert!(!tag.prefixes.is_empty() && inside(&tag.name, "AzureCloud"), "{tag:?}");
            let Some(region) = &tag.region else { continue };
            let (service, of) = tag.name.split_once('.').unwrap();
            assert_eq!(region, &of.to_lowercase());
            assert!(inside(&tag.name, service) && inside(&tag.name, &format!("AzureCloud.{region}")), "{tag:?}");
        }
    }

    /// Those of the table in Azure's "service tags overview" that do not follow from the network itself.
    const IN_AZURES_TABLE: &str = "ActionGroup ApiManagement ApplicationInsightsAvailability AppConfiguration AppService \
        AppServiceManagement AutonomousDevelopmentPlatform AzureActiveDirectory AzureActiveDirectoryDomainServices \
        AzureAdvancedThreatProtection AzureArcInfrastructure AzureAttestation AzureBackup AzureBotService AzureCloud \
        AzureCognitiveSearch AzureConnectors AzureContainerAppsService AzureContainerRegistry AzureCosmosDB \
        AzureDatabricks AzureDataExplorerManagement AzureDataLake AzureDeviceUpdate AzureDevSpaces AzureDevOps \
        AzureDigitalTwins AzureEventGrid AzureFrontDoor.Frontend AzureFrontDoor.Backend AzureFrontDoor.FirstParty \
        AzureHealthcareAPIs AzureInformationProtection AzureIoTHub AzureKeyVault AzureLoadTestingInstanceManagement \
        AzureMachineLearning AzureMachineLearningInference AzureManagedGrafana AzureMonitor AzureOpenDatasets \
        AzureResourceManager AzureSentinel AzureSignalR AzureSiteRecovery AzureSphere AzureSpringCloud AzureStack \
        AzureTrafficManager AzureUpdateDelivery AzureWebPubSub BatchNodeManagement ChaosStudio CognitiveServicesFrontend \
        CognitiveServicesManagement DataFactory DataFactoryManagement Dynamics365ForMarketingEmail \
        Dynamics365BusinessCentral EOPExternalPublishedIPs EventHub GatewayManager GuestAndHybridManagement HDInsight \
        KustoAnalytics LogicApps LogicAppsManagement Marketplace M365ManagementActivityApi \
        M365ManagementActivityApiWebhook MicrosoftAzureFluidRelay MicrosoftCloudAppSecurity MicrosoftContainerRegistry \
        MicrosoftDefenderForEndpoint MicrosoftPurviewPolicyDistribution PowerBI PowerPlatformInfra PowerPlatformPlex \
        PowerQueryOnline ServiceBus ServiceFabric Sql SqlManagement Storage StorageSyncService WindowsAdminCenter \
        WindowsVirtualDesktop";

    #[test]
    fn tag_13_the_list_in_the_program_has_every_tag_that_azure_names() {
        let published = Published::synthetic();
        let only_listed = "AzurePortal AzureSecurityCenter OneDsCollector SCCservice AzureFrontDoor.MicrosoftSecurity";
        let regional = "Storage.WestEurope ApiManagement.EastUS GatewayManager.UKSouth AzureCloud.westeurope";
        for name in [IN_AZURES_TABLE, only_listed, regional].join(" ").split_whitespace() {
            assert!(published.find(name).is_some(), "{name}");
        }
        for name in ["SqlManagement.WestEurope", "AzureFrontDoor", "Storage.Atlantis"] {
            assert!(published.find(name).is_none(), "{name}");
        }
        let prefixes = |name: &str| published.find(name).unwrap().prefixes.to_vec();
        let services = published.tags.iter().filter(|tag| tag.region.is_none() && tag.name != "AzureCloud");
        let all: Vec<_> = services.flat_map(|tag| tag.prefixes.to_vec()).collect();
        let taken =
            |prefix: &IpNet| all.iter().filter(|other| other.contains(prefix) || prefix.contains(*other)).count();
        for name in ["GatewayManager", "ApiManagement", "SqlManagement", "Storage"] {
            assert!(prefixes(name).iter().all(|prefix| taken(prefix) == 1), "no other service is at those of {name}");
        }
    }

    #[test]
    fn microsofts_fields_are_read_and_a_few_tags_written_again() {
        let published = Published::parse(TWO, "x.json").unwrap();
        let storage = published.find("sTORAGE").unwrap();
        let prefixes: Vec<_> = storage.prefixes.iter().map(ToString::to_string).collect();
        assert_eq!(prefixes, ["203.0.113.0/28", "203.0.113.16/28", "2001:db8::/48"]);
        assert_eq!(published.find("storage.westeurope").unwrap().region.as_deref(), Some("westeurope"));
        let again = Published::parse(&service_tags_text(&published.tags), "again").unwrap();
        assert_eq!(again.tags, published.tags);
    }

    #[test]
    fn a_mistake_in_the_list_has_its_place() {
        let error = |text: &str| Published::parse(text, "tags.json").err().unwrap();
        let wrong = TWO.replace("2001:db8::/48", "2001:db8::/148");
        let expected = "tags.json:4:65: invalid value: string \"2001:db8::/148\", expected an address range such as 203.0.113.0/24";
        assert_eq!(error(&wrong), expected);
        assert_eq!(error("{\n}"), "tags.json:2:1: missing field `values`");
        assert_eq!(error("<html>"), "tags.json:1:1: expected value");
        let twice = TWO.replace("Storage.WestEurope", "STORAGE");
        assert_eq!(error(&twice), "tags.json: there are two tags `STORAGE`");
    }
}
