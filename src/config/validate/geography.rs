//! Which geopolitical region an ExpressRoute peering location and an Azure region belong to (ER-19, GR-03).
//!
//! One idea: an unlisted location is not checked. A Standard circuit reaches one such region, a Premium one all.

const NORTH_AMERICA: &str = "North America";
const SOUTH_AMERICA: &str = "South America";
const EUROPE: &str = "Europe";
const ASIA: &str = "Asia";
const INDIA: &str = "India";
const JAPAN: &str = "Japan";
const OCEANIA: &str = "Oceania";
const KOREA: &str = "South Korea";
const EMIRATES: &str = "UAE";
const SOUTH_AFRICA: &str = "South Africa";

/// Peering locations in lower case, without the number of a second site.
const LOCATIONS: [(&str, &[&str]); 10] = [
    (
        NORTH_AMERICA,
        &[
            "atlanta",
            "chicago",
            "dallas",
            "denver",
            "las vegas",
            "los angeles",
            "miami",
            "minneapolis",
            "montreal",
            "new york",
            "phoenix",
            "quebec city",
            "queretaro",
            "san antonio",
            "seattle",
            "silicon valley",
            "toronto",
            "vancouver",
            "washington dc",
        ],
    ),
    (SOUTH_AMERICA, &["bogota", "campinas", "rio de janeiro", "santiago", "sao paulo"]),
    (
        EUROPE,
        &[
            "amsterdam",
            "berlin",
            "copenhagen",
            "dublin",
            "frankfurt",
            "geneva",
            "london",
            "madrid",
            "marseille",
            "milan",
            "munich",
            "newport",
            "oslo",
            "paris",
            "stavanger",
            "stockholm",
            "warsaw",
            "zurich",
        ],
    ),
    (ASIA, &["hong kong", "jakarta", "kuala lumpur", "singapore", "taipei"]),
    (INDIA, &["chennai", "mumbai", "pune", "bangalore"]),
    (JAPAN, &["osaka", "tokyo"]),
    (OCEANIA, &["auckland", "melbourne", "perth", "sydney", "canberra"]),
    (KOREA, &["busan", "seoul"]),
    (EMIRATES, &["abu dhabi", "dubai", "doha"]),
    (SOUTH_AFRICA, &["cape town", "johannesburg"]),
];

/// Azure's regions.
const REGIONS: [(&str, &[&str]); 10] = [
    (SOUTH_AMERICA, &["brazilsouth", "brazilsoutheast", "chilecentral"]),
    (
        EUROPE,
        &[
            "westeurope",
            "northeurope",
            "uksouth",
            "ukwest",
            "francecentral",
            "francesouth",
            "germanywestcentral",
            "germanynorth",
            "switzerlandnorth",
            "switzerlandwest",
            "norwayeast",
            "norwaywest",
            "swedencentral",
            "italynorth",
            "polandcentral",
            "spaincentral",
        ],
    ),
    (ASIA, &["eastasia", "southeastasia", "indonesiacentral", "malaysiawest"]),
    (INDIA, &["centralindia", "southindia", "westindia"]),
    (JAPAN, &["japaneast", "japanwest"]),
    (OCEANIA, &["australiaeast", "australiasoutheast", "australiacentral", "newzealandnorth"]),
    (KOREA, &["koreacentral", "koreasouth"]),
    (EMIRATES, &["uaenorth", "uaecentral", "qatarcentral"]),
    (SOUTH_AFRICA, &["southafricanorth", "southafricawest"]),
    (
        NORTH_AMERICA,
        &[
            "eastus",
            "eastus2",
            "centralus",
            "northcentralus",
            "southcentralus",
            "westus",
            "westus2",
            "westus3",
            "westcentralus",
            "canadacentral",
            "canadaeast",
            "mexicocentral",
        ],
    ),
];

/// Of a peering location, however it is capitalised.
pub(super) fn of_location(location: &str) -> Option<&'static str> {
    let location = location.to_lowercase();
    find(&LOCATIONS, location.trim_end_matches(|c: char| c.is_ascii_digit()))
}

/// Of one of Azure's regions.
pub(super) fn of_region(region: &str) -> Option<&'static str> {
    find(&REGIONS, region)
}

fn find(places: &[(&'static str, &[&str])], name: &str) -> Option<&'static str> {
    places.iter().find(|(_, members)| members.contains(&name)).map(|(region, _)| *region)
}
