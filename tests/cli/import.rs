//! ARM documents where a topology file is taken.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const DUMP: &str = "tests/golden/import/az-flat.json";
const TEMPLATE: &str = "tests/golden/import/template-two-machines.json";

fn vnet(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vnet"));
    command.args(arguments).stdin(Stdio::null()).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("VNET_LAB");
    command.output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn written(directory: &Path, name: &str, text: &str) -> String {
    fs::write(directory.join(name), text).unwrap();
    directory.join(name).display().to_string()
}

/// Every question to a file takes a dump or a template in its place.
#[test]
fn questions_take_documents() {
    for arguments in [
        &["explain", "web-1", "10.0.255.4", "-t", DUMP][..],
        &["routes", "web-1", "-t", DUMP],
        &["rules", "web-1", "-t", DUMP],
        &["next-hop", "web-1", "8.8.8.8", "-t", DUMP],
        &["reach", "-t", DUMP, "--diff", DUMP],
        &["public-ips", "-t", TEMPLATE],
        &["reach", "-t", TEMPLATE, "--diff", TEMPLATE],
    ] {
        let output = vnet(arguments);
        assert!(matches!(output.status.code(), Some(0 | 1 | 3)), "{arguments:?}: {}", err(&output));
    }
    let answer = vnet(&["next-hop", "web-1", "8.8.8.8", "-t", DUMP, "-o", "json"]);
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert!(answer.to_string().contains("10.0.255.4"), "{answer}");
}

/// The machines that stand for virtual hubs are named on the way; what is associated with another table goes no further.
#[test]
fn virtual_hubs_are_on_the_way() {
    let hubs = "tests/golden/import/template-two-virtual-hubs.json";
    let explained = |from: &str, to: &str| {
        let output = vnet(&["explain", from, to, "-t", hubs]);
        (output.status.code(), out(&output))
    };
    let (code, way) = explained("app", "shop");
    assert_eq!(code, Some(0), "{way}");
    let (first, last) = (way.find("to the appliance hub-west-virtual-hub"), way.find("hub-north-virtual-hub"));
    assert!(first.is_some() && first < last, "{way}");
    for (from, to) in [("lab", "app"), ("lab", "shop"), ("shop", "lab")] {
        let (code, way) = explained(from, to);
        assert_eq!(code, Some(1), "{way}");
        assert!(way.contains("NextHopNone"), "{way}");
    }
}

/// What a template does not have is said with its place, in the document that was given.
#[test]
fn an_export_says_what_is_not_in_it_and_where() {
    let output = vnet(&["export", "arm", "config/private-cloud-basic.yaml"]);
    let (template, said): (Value, _) = (serde_json::from_slice(&output.stdout).unwrap(), err(&output));
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("config/private-cloud-basic.yaml:32:5: `run` is of the lab alone"), "{said}");
    let said = err(&vnet(&["export", "arm", "config/machines.yaml"]));
    assert!(said.contains("config/machines.yaml:45:29: Azure starts every machine"), "{said}");
    assert!(template.to_string().contains("circuit.expressRouteID]"), "{template}");
    let said = err(&vnet(&["export", "bicep", "tests/golden/import/template-site-to-site.json"]));
    assert!(said.contains("template-site-to-site.json as imported:"), "{said}");
}

/// A size that Azure got after this program was written is no mistake.
#[test]
fn an_unknown_gateway_size_is_named() {
    let text =
        std::fs::read_to_string("tests/golden/import/rest-gateways.json").unwrap().replace("VpnGw2AZ", "VpnGw9AZ");
    let directory = TempDir::new().unwrap();
    let output = vnet(&["import", &written(directory.path(), "dump.json", &text)]);
    let said = err(&output);
    assert_eq!(said.matches("the gateway size `VpnGw9AZ` is not known here: the default is used").count(), 1, "{said}");
    assert!(!out(&output).contains("VpnGw9AZ"));
}

/// No object of a document is read without a look at all its keys.
#[test]
fn unknown_keys_are_reported_wherever_they_stand() {
    let network = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network";
    let subnet = |name: &str| serde_json::json!({"id": format!("{network}/virtualNetworks/v/subnets/{name}")});
    let resource = |kind: &str, name: &str, properties: Value| {
        let id = format!("/subscriptions/s/resourceGroups/g/providers/{kind}/{name}");
        serde_json::json!({"id": id, "name": name, "type": kind, "location": "westeurope", "properties": properties})
    };
    let dump = serde_json::json!([
        resource(
            "Microsoft.Network/virtualNetworks",
            "v",
            serde_json::json!({
            "addressSpace": {"addressPrefixes": ["10.0.0.0/16"], "odd1": 1},
            "dhcpOptions": {"dnsServers": ["10.0.0.4"], "odd2": 1},
            "subnets": [{"name": "s", "properties": {"addressPrefix": "10.0.0.0/24"}},
                {"name": "GatewaySubnet", "properties": {"addressPrefix": "10.0.255.0/27"}}]})
        ),
        resource("Microsoft.Network/publicIPAddresses", "p", serde_json::json!({"ipAddress": "203.0.113.9"})),
        resource(
            "Microsoft.Network/virtualNetworkGateways",
            "gw",
            serde_json::json!({
            "sku": {"name": "VpnGw1", "tier": "VpnGw1", "capacity": 2, "odd3": 1},
            "ipConfigurations": [{"name": "c", "properties": {"subnet": subnet("GatewaySubnet"),
                "publicIPAddress": {"id": format!("{network}/publicIPAddresses/p")}, "odd4": 1}}],
            "bgpSettings": {"asn": 65515, "odd5": 1, "bgpPeeringAddresses": [{"odd6": 1}]},
            "customRoutes": {"addressPrefixes": ["10.9.0.0/16"], "odd7": 1}})
        ),
        resource(
            "Microsoft.Network/localNetworkGateways",
            "l",
            serde_json::json!({
            "gatewayIpAddress": "198.51.100.1", "bgpSettings": {"asn": 65010, "bgpPeeringAddress": "192.168.0.1", "odd8": 1},
            "localNetworkAddressSpace": {"addressPrefixes": ["192.168.0.0/24"], "odd9": 1}})
        ),
        resource(
            "Microsoft.Network/networkInterfaces",
            "n",
            serde_json::json!({
            "ipConfigurations": [{"name": "i", "properties": {"subnet": subnet("s")}}], "dnsSettings": {"odd10": 1}})
        ),
        resource(
            "Microsoft.Compute/virtualMachines",
            "m",
            serde_json::json!({"odd11": 1, "hardwareProfile": {"vmSize": "B1"},
            "networkProfile": {"networkInterfaces": [{"id": format!("{network}/networkInterfaces/n")}], "odd12": 1}})
        ),
    ]);
    let directory = TempDir::new().unwrap();
    let said = err(&vnet(&["import", "--strict", &written(directory.path(), "dump.json", &dump.to_string())]));
    for odd in (1..=12).map(|number| format!("`odd{number}` is not known here as a property of ")) {
        assert_eq!(said.matches(&odd).count(), 1, "{odd}: {said}");
    }
    assert_eq!(said.matches("is not known here").count(), 12, "{said}");
}

/// A finding deep in a long line is shown with what is around it.
#[test]
fn a_finding_in_a_long_line_is_shown() {
    let directory = TempDir::new().unwrap();
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/import/error-in-the-source.json"));
    let one_line: Value = serde_json::from_str(&text.unwrap()).unwrap();
    let file = written(directory.path(), "one.json", &format!("[{}{}]", " ".repeat(20_000), one_line));
    let shown = out(&vnet(&["validate", &file]));
    let caret = shown.lines().find(|line| line.contains('^')).unwrap_or_default();
    let source = shown.lines().find(|line| line.starts_with("1 |")).unwrap_or_default();
    let at = caret.find('^').unwrap_or_default();
    assert!(source[at..].starts_with("\"10.0.1.128/25\""), "{shown}");
    assert!(source.len() < 200, "{shown}");
}

/// A dump may be longer than a topology file; a template may not be longer than Azure takes it.
#[test]
fn long_documents() {
    let directory = TempDir::new().unwrap();
    let dump = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(DUMP)).unwrap();
    let long = written(directory.path(), "dump.json", &format!("{}{dump}", "\n".repeat(9 << 20)));
    assert_eq!(vnet(&["import", &long]).status.code(), Some(3));
    let file = written(directory.path(), "lab.yaml", &"# a comment\n".repeat(1 << 20));
    assert!(err(&vnet(&["validate", &file])).contains("it is larger than 8 MiB"));
    let template = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(TEMPLATE)).unwrap();
    let long = written(directory.path(), "long.json", &format!("{template}{}", "\n".repeat(5 << 20)));
    let refused = err(&vnet(&["import", &long]));
    assert!(refused.contains("long.json:1:1: error: this template is longer than 4 MiB"), "{refused}");
}

#[test]
fn a_mistake_is_shown_in_the_document() {
    let file = "tests/golden/import/error-in-the-source.json";
    let output = vnet(&["validate", "-o", "json", file]);
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings[0]["file"], file);
    assert_eq!((&findings[0]["line"], &findings[0]["column"]), (&Value::from(23), &Value::from(30)));
    let shown = out(&vnet(&["validate", file]));
    assert!(shown.contains("23 |             \"addressPrefix\": \"10.0.1.128/25\""), "{shown}");
}

#[test]
fn strict_refuses_what_is_not_known() {
    let output = vnet(&["import", DUMP, "--strict"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains(":91:5: error: `somethingNew` is not known here"), "{}", err(&output));
    let known = "tests/golden/import/graph-load-balancer.json";
    assert_eq!(vnet(&["import", known, "--strict"]).status.code(), Some(0));
}

#[test]
fn an_import_can_be_read_again() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("lab.vnet.yaml").display().to_string();
    let output = vnet(&["import", DUMP, "--out", &file]);
    assert_eq!((output.status.code(), out(&output)), (Some(3), String::new()), "{}", err(&output));
    assert_eq!(vnet(&["reach", "-t", &file, "--diff", DUMP]).status.code(), Some(0));
    let again = vnet(&["import", &file]);
    assert!(err(&again).contains("is a topology file already"), "{}", err(&again));
}

#[test]
fn parameters_come_from_beside_the_template_a_file_or_the_command() {
    let directory = TempDir::new().unwrap();
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(TEMPLATE)).unwrap();
    let template = written(directory.path(), "shop.json", &text);
    let values = |count: u32| {
        format!(
            "{{\"$schema\": \"https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#\", \"parameters\": {{\"count\": {{\"value\": {count}}}}}}}"
        )
    };
    let machines = |arguments: &[&str]| {
        let output = vnet(&[&["import", &template][..], arguments].concat());
        out(&output).matches("subnet: shop/web").count()
    };
    assert_eq!(machines(&[]), 2);
    written(directory.path(), "shop.parameters.json", &values(3));
    assert_eq!(machines(&[]), 3);
    let other = written(directory.path(), "other.json", &values(4));
    assert_eq!(machines(&["--parameters", &other]), 4);
    assert_eq!(machines(&["--parameters", &other, "--parameters", "count=5"]), 5);
}

/// A template reads what is below its directory, and nothing else.
#[test]
fn links_stay_in_the_directory() {
    let directory = TempDir::new().unwrap();
    let inner = r#"{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
        "resources": [{"type": "Microsoft.Network/virtualNetworks", "apiVersion": "2024-05-01", "name": "v", "location": "westeurope",
        "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}]}"#;
    let outer = |link: &str| {
        format!(
            r#"{{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
            "resources": [{{"type": "Microsoft.Resources/deployments", "apiVersion": "2022-09-01", "name": "d",
            "properties": {{"mode": "Incremental", "templateLink": {{"relativePath": "{link}"}}}}}}]}}"#
        )
    };
    let inside = directory.path().join("inside");
    fs::create_dir_all(inside.join("nested")).unwrap();
    written(directory.path(), "outside.json", inner);
    written(&inside, "nested/inner.json", inner);
    std::os::unix::fs::symlink(directory.path().join("outside.json"), inside.join("link.json")).unwrap();
    let good = vnet(&["import", &written(&inside, "good.json", &outer("nested/inner.json"))]);
    assert!(out(&good).contains("name: v"), "{}", err(&good));
    for link in ["../outside.json", "link.json", "nested"] {
        let bad = vnet(&["import", &written(&inside, "bad.json", &outer(link))]);
        assert_eq!(bad.status.code(), Some(2), "{link}: {}", out(&bad));
    }
}

/// Every command says that what a link leads to is missing, not only `import`.
#[test]
fn a_link_elsewhere_is_a_warning_of_every_command() {
    const LINK: &str = "tests/golden/import/template-link-elsewhere.json";
    let warning = format!("{LINK}:18:25: warning: Nothing is read from the network");
    for arguments in [&["import", LINK][..], &["validate", LINK], &["routes", "hub/none", "-t", LINK]] {
        let output = vnet(arguments);
        assert!(err(&output).contains(&warning), "{arguments:?}: {}", err(&output));
    }
    assert_eq!(vnet(&["import", LINK]).status.code(), Some(3));
}

#[test]
fn bicep_without_its_program_says_how_to_get_the_template() {
    let directory = TempDir::new().unwrap();
    let file = written(directory.path(), "main.bicep", "");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vnet"));
    let output = command.args(["import", &file]).env("PATH", "").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("bicep build"), "{}", err(&output));
}

/// What is given by mistake, and what is said of it.
#[test]
fn slips_have_a_hint() {
    let directory = TempDir::new().unwrap();
    let null = written(directory.path(), "null.json", "null\n");
    let two = written(directory.path(), "two.txt", "[]\n[]\n");
    let none = written(directory.path(), "none.json", "[]\n");
    // As PowerShell 5 writes what `az` prints.
    let wide = directory.path().join("wide.json");
    fs::write(&wide, [0xff, 0xfe, b'[', 0, b']', 0]).unwrap();
    let wide = wide.to_str().unwrap().to_owned();
    let parameters = written(directory.path(), "main.bicepparam", "using './main.bicep'\n");
    let json = parameters.replace("bicepparam", "json");
    for (arguments, words) in [
        (vec!["import", &null], vec!["null.json:1:1: error: this is a single value"]),
        (vec!["validate", &null], vec!["null.json:1:1: error: this is a single value"]),
        (vec!["import", &none], vec!["none.json:1:1: error: there is no virtual network among the resources"]),
        (vec!["import", &wide], vec!["wide.json:1:1: error: there is no virtual network among the resources"]),
        (vec!["import", &two], vec!["two.txt:2:1: error: A second document begins here.", "jq -s"]),
        (vec!["import", &parameters], vec!["bicep build-params", &json]),
        (vec!["import", TEMPLATE, "-p", &parameters], vec!["bicep build-params", &json]),
        (
            vec!["import", TEMPLATE, "-p", &null, "vmCount=1"],
            vec!["there is no file vmCount=1", "--parameters vmCount=1"],
        ),
    ] {
        let output = vnet(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", out(&output));
        let said = err(&output);
        assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
    }
}

#[test]
fn several_files_a_directory_and_stdin_are_one_network() {
    let directory = TempDir::new().unwrap();
    let all: Value = serde_json::from_str(include_str!("../golden/import/az-flat.json")).unwrap();
    for (index, one) in all.as_array().unwrap().iter().enumerate() {
        written(directory.path(), &format!("{index}.json"), &one.to_string());
    }
    let whole = out(&vnet(&["import", DUMP]));
    let body = |text: &str| text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(body(&out(&vnet(&["import", &directory.path().display().to_string()]))), body(&whole));
    let mut command = Command::new(env!("CARGO_BIN_EXE_vnet"));
    command.args(["import", "-"]).stdin(fs::File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(DUMP)).unwrap());
    assert_eq!(body(&out(&command.output().unwrap())), body(&whole));
}

#[test]
fn broken_json_is_shown_as_json() {
    let directory = TempDir::new().unwrap();
    let file = written(directory.path(), "broken.json", "[\n  {\"id\": }\n]\n");
    let output = vnet(&["validate", &file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("broken.json:2:"), "{}", err(&output));
}

/// A plan says what is before it and what it leads to: here it takes the second virtual network away.
#[test]
fn a_plan_alone_shows_what_it_changes() {
    let directory = TempDir::new().unwrap();
    let group = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/net/providers/Microsoft.Network";
    let vnet_of = |name: &str, range: &str| {
        json!({
            "address": format!("azurerm_virtual_network.{name}"), "mode": "managed", "type": "azurerm_virtual_network", "name": name,
            "provider_name": "registry.terraform.io/hashicorp/azurerm", "schema_version": 0,
            "values": {"id": format!("{group}/virtualNetworks/{name}"), "name": name, "resource_group_name": "net",
                "location": "westeurope", "address_space": [range],
                "subnet": [{"name": "s", "address_prefixes": [range], "id": format!("{group}/virtualNetworks/{name}/subnets/s")}]},
        })
    };
    let (one, two) = (vnet_of("one", "10.1.0.0/24"), vnet_of("two", "10.2.0.0/24"));
    let plan = json!({
        "format_version": "1.2", "terraform_version": "1.9.0",
        "planned_values": {"root_module": {"resources": [one]}},
        "prior_state": {"format_version": "1.0", "values": {"root_module": {"resources": [one, two]}}},
    });
    let file = written(directory.path(), "tfplan.json", &plan.to_string());
    let after = out(&vnet(&["import", &file]));
    assert!(after.contains("name: one") && !after.contains("name: two"), "{after}");
    let before = out(&vnet(&["import", "--before", &file]));
    assert!(before.contains("name: one") && before.contains("name: two"), "{before}");
    let output = vnet(&["reach", "--diff", &file]);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(0), "no difference\n"), "{}", err(&output));
}

/// What is no document of Azure or Terraform is called what it is, with the way to one.
#[test]
fn what_cannot_be_imported_is_named() {
    let directory = TempDir::new().unwrap();
    let of = |name: &str, text: &str| written(directory.path(), name, text);
    for (file, words) in [
        (
            of("main.tf", "resource \"azurerm_virtual_network\" \"v\" {}\n"),
            "terraform show -json plan.tfplan > plan.json",
        ),
        (of("tfplan", "PK\u{3}\u{4}binary"), "terraform show -json plan.tfplan > plan.json"),
        (
            of("log.json", "{\"@level\":\"info\"}\n{\"@level\":\"info\"}\n"),
            "terraform show -json plan.tfplan > plan.json",
        ),
        (of("state.json", "{\"format_version\": \"1.0\"}"), "This document of Terraform has no resources."),
        (
            of("error.json", "{\"error\": {\"code\": \"NotFound\", \"message\": \"No group.\"}}"),
            "this is an error that Azure returned, NotFound: No group.",
        ),
        (of("account.json", "{\"name\": \"me\", \"tenantId\": \"1\"}"), "this says nothing of a network"),
        (of("null.json", "null"), "this is a single value, such as `null`, and says nothing of a network"),
    ] {
        for command in ["import", "validate"] {
            let output = vnet(&[command, &file]);
            assert_eq!(output.status.code(), Some(2), "{command} {file}: {}", err(&output));
            assert!(err(&output).contains(words), "{command} {file}: {}", err(&output));
        }
    }
    let topology = of(
        "lab.json",
        "{\"virtualNetworks\": [{\"name\": \"v\", \"location\": \"westeurope\", \"addressSpace\": [\"10.0.0.0/16\"]}]}",
    );
    assert_eq!(vnet(&["validate", &topology]).status.code(), Some(0));
    let output = vnet(&["import", &topology]);
    assert!(err(&output).contains("is a topology file already"), "{}", err(&output));
}

/// Where nothing is left to make a network of, what was left out says why.
#[test]
fn without_a_network_the_reason_is_told() {
    let directory = TempDir::new().unwrap();
    let plan = json!({"format_version": "1.2", "terraform_version": "1.9.5", "planned_values": {"root_module": {"resources": [
        {"address": "azurerm_virtual_network.v", "mode": "managed", "type": "azurerm_virtual_network", "name": "v", "values": {"name": "v", "resource_group_name": "rg", "location": "westeurope"}}]}},
        "resource_changes": [{"address": "azurerm_virtual_network.v", "change": {"after_unknown": {"address_space": true}}}]});
    let output = vnet(&["import", &written(directory.path(), "plan.json", &plan.to_string())]);
    let said = err(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for words in [
        "warning: Terraform knows `azurerm_virtual_network.v.address_space` only after the apply: it is missing here.",
        "warning: virtual network `v` has no address space: it is left out",
        "error: there is no virtual network among the resources",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// What was not given may make every answer wrong: every command says so.
#[test]
fn every_command_warns_of_what_was_not_given() {
    for command in [&["validate"][..], &["reach", "-t"], &["explain", "one", "10.0.1.4", "-t"]] {
        let arguments: Vec<_> = command.iter().copied().chain(["tests/golden/import/rest-not-given.json"]).collect();
        let said = err(&vnet(&arguments));
        assert!(
            said.contains("routeTables/lost` is not among the resources: the reference is left out"),
            "{command:?}: {said}"
        );
        assert!(!said.contains("is made up for it"), "{command:?}: {said}");
    }
}

/// `az` takes a file with the parameters alone.
#[test]
fn parameters_may_stand_alone_in_their_file() {
    let directory = TempDir::new().unwrap();
    let parameters = written(directory.path(), "p.json", r#"{"vnetName": {"value": "given"}}"#);
    let template = written(
        directory.path(),
        "t.json",
        &json!({"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
            "parameters": {"vnetName": {"type": "string"}},
            "resources": [{"type": "Microsoft.Network/virtualNetworks", "name": "[parameters('vnetName')]", "location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}]})
        .to_string(),
    );
    let output = vnet(&["import", &template, "-p", &parameters]);
    assert!(out(&output).contains("name: given"), "{}", err(&output));
    let wrong = written(directory.path(), "w.json", r#"{"vnetName": "given"}"#);
    let output = vnet(&["import", &template, "-p", &wrong]);
    assert!(err(&output).contains("this is no file of parameters"), "{}", err(&output));
}
