//! `terraform show -json` of a plan: what it refers to, and what it does not know yet.

use serde_json::{Value, json};
use vnet::arm::terraform;
use vnet::arm::{Node, NoteKind, Place};

use crate::terraform::{id, managed, names, network, properties, read};

/// A plan of a module with subnets and a machine. Terraform does not know their IDs; one network exists already.
fn unknown_ids() -> Value {
    let change = |address: &str, unknown: Value| json!({"address": address, "change": {"actions": ["create"], "after_unknown": unknown}});
    let planned = |module: &str, kind: &str, name: &str, index: Value, values: Value| {
        let mut resource = managed(kind, name, values);
        let place = if module.is_empty() { String::new() } else { format!("{module}.") };
        let brackets = if index.is_null() { String::new() } else { format!("[{index}]") };
        resource["address"] = json!(format!("{place}{kind}.{name}{brackets}"));
        if !index.is_null() {
            resource["index"] = index;
        }
        resource
    };
    let refers = |references: Value| json!({"references": references});
    let vnet = json!({"id": network("virtualNetworks/old"), "address_space": ["10.1.0.0/16"]});
    json!({
        "format_version": "1.2", "terraform_version": "1.11.4",
        "prior_state": {"values": {"root_module": {"resources": [
            managed("azurerm_virtual_network", "old", vnet.clone()),
            {"address": "data.azurerm_route_table.rt", "mode": "data", "type": "azurerm_route_table", "name": "rt", "values": {
                "id": network("routeTables/rt"), "name": "rt", "resource_group_name": "rg"}}]}}},
        "planned_values": {"root_module": {
            "resources": [
                planned("", "azurerm_virtual_network", "old", Value::Null, vnet),
                planned("", "azurerm_subnet", "s", json!(0), json!({"name": "s0", "virtual_network_name": "old", "address_prefixes": ["10.1.0.0/24"]})),
                planned("", "azurerm_subnet", "s", json!(1), json!({"name": "s1", "virtual_network_name": "old", "address_prefixes": ["10.1.1.0/24"]})),
                planned("", "azurerm_subnet_route_table_association", "a", json!(0), json!({})),
                planned("", "azurerm_subnet_route_table_association", "a", json!(1), json!({})),
                planned("", "azurerm_public_ip", "ip", Value::Null, json!({"allocation_method": "Static"}))],
            "child_modules": [{"address": "module.web", "resources": [
                planned("module.web", "azurerm_network_interface", "nic", Value::Null, json!({"ip_configuration": [{"name": "c", "private_ip_address_allocation": "Dynamic"}]})),
                planned("module.web", "azurerm_linux_virtual_machine", "vm", Value::Null, json!({"network_interface_ids": [null]}))]}]}},
        "resource_changes": [
            change("azurerm_subnet.s[0]", json!({"id": true})), change("azurerm_subnet.s[1]", json!({"id": true})),
            change("azurerm_subnet_route_table_association.a[0]", json!({"subnet_id": true})),
            change("azurerm_subnet_route_table_association.a[1]", json!({"subnet_id": true})),
            change("azurerm_public_ip.ip", json!({"id": true, "ip_address": true, "fqdn": true})),
            change("module.web.azurerm_network_interface.nic", json!({"id": true, "ip_configuration": [{"subnet_id": true, "public_ip_address_id": true}]})),
            change("module.web.azurerm_linux_virtual_machine.vm", json!({"id": true, "network_interface_ids": [true]}))],
        "configuration": {"root_module": {
            "resources": [
                {"type": "azurerm_subnet_route_table_association", "name": "a", "mode": "managed", "expressions": {
                    "subnet_id": refers(json!(["azurerm_subnet.s", "count.index"])), "route_table_id": refers(json!(["data.azurerm_route_table.rt.id", "data.azurerm_route_table.rt"]))}}]
            ,
            "module_calls": {"web": {
                "expressions": {"subnet_id": refers(json!(["azurerm_subnet.s[1].id", "azurerm_subnet.s[1]", "azurerm_subnet.s"])), "ip": refers(json!(["azurerm_public_ip.ip.id", "azurerm_public_ip.ip"]))},
                "module": {"resources": [
                    {"type": "azurerm_network_interface", "name": "nic", "mode": "managed", "expressions": {"ip_configuration": [
                        {"subnet_id": refers(json!(["var.subnet_id"])), "public_ip_address_id": refers(json!(["var.ip"]))}]}},
                    {"type": "azurerm_linux_virtual_machine", "name": "vm", "mode": "managed", "expressions": {
                        "network_interface_ids": refers(json!(["azurerm_network_interface.nic.id", "azurerm_network_interface.nic"]))}}]}}}}}
    })
}

#[test]
fn a_plan_is_before_and_after_and_its_ids_are_worked_out() {
    let mut document = unknown_ids();
    for at in [3, 4] {
        document["planned_values"]["root_module"]["resources"][at]["values"]["route_table_id"] =
            json!(network("routeTables/rt"));
    }
    assert!(terraform::is_terraform(&Node::from_json(&Place { file: "f".into(), line: 1, column: 1 }, &document)));
    let plan = read(&document);
    let before = plan.before.expect("a prior state");
    assert_eq!(names(&before), ["old", "rt"]);
    assert!(before[1].existing);
    let old = properties(&plan.after, "old");
    assert_eq!(old["subnets"][0]["name"], "s0");
    assert_eq!(old["subnets"][0]["properties"]["routeTable"], id("routeTables/rt"));
    assert_eq!(old["subnets"][1]["properties"]["routeTable"], id("routeTables/rt"));
    let configuration = &properties(&plan.after, "nic")["ipConfigurations"][0]["properties"];
    assert_eq!(configuration["subnet"], id("virtualNetworks/old/subnets/s1"));
    assert_eq!(configuration["publicIPAddress"], id("publicIPAddresses/ip"));
    assert_eq!(
        properties(&plan.after, "vm")["networkProfile"]["networkInterfaces"],
        json!([id("networkInterfaces/nic")])
    );
    let notes: Vec<_> = plan.notes.iter().map(|note| note.message.as_str()).collect();
    assert_eq!(notes, ["Terraform knows `azurerm_public_ip.ip.ip_address` only after the apply, so it is allocated."]);
}

/// Of `azurerm_route_table.rt[count.index].id` a plan keeps the resource without the attribute; so it does of a `data` block.
#[test]
fn each_of_several_resources_refers_to_its_own() {
    let at = |kind: &str, name: &str, index: usize, values: Value| json!({"address": format!("{kind}.{name}[{index}]"), "mode": "managed", "type": kind, "name": name, "index": index, "values": values});
    let subnet = |index: usize| json!({"name": format!("s{index}"), "virtual_network_name": "v", "address_prefixes": [format!("10.0.{index}.0/24")], "resource_group_name": "rg"});
    let table = |index: usize| json!({"name": format!("rt{index}"), "resource_group_name": "rg"});
    let nsg = |index: usize| {
        json!({"address": format!("data.azurerm_network_security_group.g[{index}]"), "mode": "data", "type": "azurerm_network_security_group", "name": "g", "index": index,
        "values": {"id": network(&format!("networkSecurityGroups/g{index}")), "name": format!("g{index}"), "resource_group_name": "rg"}})
    };
    let of = |name: &str, index: usize| json!({"address": format!("{name}[{index}]"), "change": {"after_unknown": {"subnet_id": true, "route_table_id": true, "network_security_group_id": true}}});
    let (routed, guarded) =
        ("azurerm_subnet_route_table_association", "azurerm_subnet_network_security_group_association");
    let refers = |to: &str| json!({"references": [to, "count.index"]});
    let mut resources = vec![
        json!({"address": "azurerm_virtual_network.v", "mode": "managed", "type": "azurerm_virtual_network", "name": "v",
        "values": {"name": "v", "address_space": ["10.0.0.0/16"], "resource_group_name": "rg"}}),
    ];
    for index in [0, 1] {
        resources.extend([
            at("azurerm_subnet", "s", index, subnet(index)),
            at("azurerm_route_table", "t", index, table(index)),
        ]);
        resources.extend([at(routed, "a", index, json!({})), at(guarded, "b", index, json!({}))]);
    }
    let (routed_a, guarded_b) = (format!("{routed}.a"), format!("{guarded}.b"));
    let plan = read(&json!({"format_version": "1.2", "terraform_version": "1.11.4",
        "prior_state": {"values": {"root_module": {"resources": [nsg(0), nsg(1)]}}},
        "planned_values": {"root_module": {"resources": resources}},
        "resource_changes": [of(&routed_a, 0), of(&routed_a, 1), of(&guarded_b, 0), of(&guarded_b, 1)],
        "configuration": {"root_module": {"resources": [
            {"type": routed, "name": "a", "mode": "managed", "expressions": {"subnet_id": refers("azurerm_subnet.s"), "route_table_id": refers("azurerm_route_table.t")}},
            {"type": guarded, "name": "b", "mode": "managed", "expressions": {"subnet_id": refers("azurerm_subnet.s"),
                "network_security_group_id": refers("data.azurerm_network_security_group.g")}}]}}}));
    for (index, subnet) in properties(&plan.after, "v")["subnets"].as_array().unwrap().iter().enumerate() {
        assert_eq!(subnet["properties"]["routeTable"], id(&format!("routeTables/rt{index}")));
        assert_eq!(subnet["properties"]["networkSecurityGroup"], id(&format!("networkSecurityGroups/g{index}")));
    }
}

/// Routes lead to an interface and to a firewall. Azure allocates the addresses of both.
#[test]
fn an_address_that_another_resource_reads_is_chosen() {
    let at = |kind: &str, name: &str, values: Value| json!({"address": format!("{kind}.{name}"), "mode": "managed", "type": kind, "name": name, "values": values});
    let named = |name: &str| {
        json!({"name": name, "virtual_network_name": "v", "route_table_name": "t", "address_prefixes": ["10.0.3.0/24"],
        "next_hop_type": "VirtualAppliance", "ip_configuration": [{"name": "c", "subnet_id": network("virtualNetworks/v/subnets/s")}], "resource_group_name": "rg"})
    };
    // A plan leaves out what it does not know, or has null; a state has an empty text.
    let unknown = |name: &str, address: Value| {
        let mut values = named(name);
        values["ip_configuration"][0]["private_ip_address"] = address;
        values
    };
    let taken = json!({"name": "x", "ip_configuration": [{"name": "c", "private_ip_address": "10.0.3.254"}]});
    let refers = |name: &str, to: &str| json!({"type": "azurerm_route", "name": name, "mode": "managed", "expressions": {"next_hop_in_ip_address": {"references": [to]}}});
    let change = |address: &str, key: &str| json!({"address": address, "change": {"after_unknown": {key: true}}});
    let plan = read(&json!({"format_version": "1.2", "terraform_version": "1.11.4",
        "planned_values": {"root_module": {"resources": [
            at("azurerm_virtual_network", "v", named("v")), at("azurerm_subnet", "s", named("s")), at("azurerm_route_table", "t", named("t")),
            at("azurerm_network_interface", "x", taken), at("azurerm_network_interface", "n", unknown("n", Value::Null)), at("azurerm_firewall", "f", unknown("f", json!(""))),
            at("azurerm_route", "a", named("a")), at("azurerm_route", "b", named("b")), at("azurerm_route", "c", named("c"))]}},
        "resource_changes": [change("azurerm_route.a", "next_hop_in_ip_address"), change("azurerm_route.b", "next_hop_in_ip_address"),
            change("azurerm_route.c", "next_hop_in_ip_address"), change("azurerm_network_interface.n", "private_ip_address")],
        "configuration": {"root_module": {"resources": [refers("a", "azurerm_network_interface.n.private_ip_address"),
            refers("b", "azurerm_firewall.f.ip_configuration[0].private_ip_address"), refers("c", "azurerm_network_interface.x.private_ip_address")]}}}));
    let hops = properties(&plan.after, "t")["routes"].clone();
    let hop = |index: usize| hops[index]["properties"]["nextHopIpAddress"].clone();
    assert_eq!([hop(0), hop(1), hop(2)], ["10.0.3.253", "10.0.3.252", "10.0.3.254"]);
    for (name, index) in [("n", 0), ("f", 1)] {
        assert_eq!(properties(&plan.after, name)["ipConfigurations"][0]["properties"]["privateIPAddress"], hop(index));
    }
    // The plan gives a note for each chosen address, and for no other.
    let said: Vec<_> = plan.notes.iter().map(|note| note.message.as_str()).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("azurerm_network_interface.n.ip_configuration[0].private_ip_address"), "{said:?}");
    assert!(said[1].contains("so 10.0.3.252 was chosen"), "{said:?}");
}

/// A list of a machine's interfaces, of which Terraform knows the ID of one.
#[test]
fn known_items_of_a_list_stay_beside_what_is_worked_out() {
    let mut document = unknown_ids();
    let module = &mut document["planned_values"]["root_module"]["child_modules"][0]["resources"][1];
    module["values"]["network_interface_ids"] = json!([network("networkInterfaces/known"), null]);
    let change = document["resource_changes"].as_array_mut().unwrap().last_mut().unwrap();
    change["change"]["after_unknown"] = json!({"id": true, "network_interface_ids": [false, true]});
    let plan = read(&document);
    assert_eq!(
        properties(&plan.after, "vm")["networkProfile"]["networkInterfaces"],
        json!([id("networkInterfaces/known"), id("networkInterfaces/nic")])
    );
}

/// `for_each` over subnets, of which each interface refers to its own; the ranges decide the addresses.
#[test]
fn an_interface_of_a_loop_is_in_the_subnet_of_its_key() {
    let of = |kind: &str, name: &str, key: &str, values: Value| json!({"address": format!("{kind}.{name}[\"{key}\"]"), "mode": "managed", "type": kind, "name": name, "index": key, "values": values});
    let subnet = |key: &str, range: &str| {
        of(
            "azurerm_subnet",
            "s",
            key,
            json!({"name": format!("s-{key}"), "virtual_network_name": "v", "resource_group_name": "rg", "address_prefixes": [range]}),
        )
    };
    let nic = |key: &str| {
        of(
            "azurerm_network_interface",
            "n",
            key,
            json!({"name": format!("n-{key}"), "resource_group_name": "rg", "location": "westeurope", "ip_configuration": [{"name": "c", "private_ip_address_allocation": "Dynamic"}]}),
        )
    };
    let change = |address: &str, unknown: Value| json!({"address": address, "change": {"actions": ["create"], "after_unknown": unknown}});
    let unknown = || json!({"id": true, "ip_configuration": [{"subnet_id": true, "private_ip_address": true}]});
    let refers = json!({"references": ["azurerm_subnet.s", "each.key"]});
    let document = json!({
        "format_version": "1.2", "terraform_version": "1.11.4",
        "planned_values": {"root_module": {"resources": [
            managed("azurerm_virtual_network", "v", json!({"name": "v", "resource_group_name": "rg", "location": "westeurope", "address_space": ["10.0.0.0/16"]})),
            subnet("b", "10.0.2.0/24"), subnet("a", "10.0.1.0/24"), nic("a"), nic("b")]}},
        "resource_changes": [
            change("azurerm_virtual_network.v", json!({"id": true})),
            change("azurerm_subnet.s[\"a\"]", json!({"id": true})), change("azurerm_subnet.s[\"b\"]", json!({"id": true})),
            change("azurerm_network_interface.n[\"a\"]", unknown()), change("azurerm_network_interface.n[\"b\"]", unknown())],
        "configuration": {"root_module": {"resources": [
            {"type": "azurerm_network_interface", "name": "n", "mode": "managed", "expressions": {"ip_configuration": [{"subnet_id": refers}]}}]}}
    });
    let plan = read(&document);
    for key in ["a", "b"] {
        let configuration = &properties(&plan.after, &format!("n-{key}"))["ipConfigurations"][0]["properties"];
        assert_eq!(configuration["subnet"], id(&format!("virtualNetworks/v/subnets/s-{key}")), "{key}");
    }
}

/// A list with one unknown item may have become longer: what is referred to beyond it comes behind.
#[test]
fn a_list_may_refer_to_more_than_it_shows() {
    let mut document = unknown_ids();
    let resources = &mut document["planned_values"]["root_module"]["child_modules"][0]["resources"];
    let mut second = resources[0].clone();
    second["address"] = json!("module.web.azurerm_network_interface.more");
    second["name"] = json!("more");
    second["values"]["name"] = json!("more");
    second["values"]["id"] = json!(network("networkInterfaces/more"));
    resources.as_array_mut().unwrap().push(second);
    let module = &mut document["configuration"]["root_module"]["module_calls"]["web"]["module"]["resources"][1];
    module["expressions"]["network_interface_ids"]["references"] = json!([
        "azurerm_network_interface.nic.id",
        "azurerm_network_interface.nic",
        "azurerm_network_interface.more.id",
        "azurerm_network_interface.more"
    ]);
    let plan = read(&document);
    assert_eq!(
        properties(&plan.after, "vm")["networkProfile"]["networkInterfaces"],
        json!([id("networkInterfaces/nic"), id("networkInterfaces/more")])
    );
    // Of a list that is unknown as a whole, too.
    for change in document["resource_changes"].as_array_mut().unwrap() {
        if change["address"] == "module.web.azurerm_linux_virtual_machine.vm" {
            change["change"]["after_unknown"]["network_interface_ids"] = json!(true);
        }
    }
    let machine = &mut document["planned_values"]["root_module"]["child_modules"][0]["resources"][1]["values"];
    machine.as_object_mut().unwrap().remove("network_interface_ids");
    let plan = read(&document);
    assert_eq!(
        properties(&plan.after, "vm")["networkProfile"]["networkInterfaces"],
        json!([id("networkInterfaces/nic"), id("networkInterfaces/more")])
    );
}

/// A plan whose names have a part that only the apply will make, as `random_pet` does; with what refers to them.
#[test]
fn a_name_that_is_not_known_is_the_addresss() {
    let at = |kind: &str, address: &str, values: Value| {
        let mut resource = managed(kind, address.rsplit('.').next().unwrap().split('[').next().unwrap(), values);
        resource["address"] = json!(address);
        if let Some((_, index)) = address.split_once('[') {
            resource["index"] = serde_json::from_str(index.trim_end_matches(']')).unwrap();
        }
        if resource["values"]["name"] == "?" {
            resource["values"].as_object_mut().unwrap().remove("name");
        }
        resource
    };
    let change = |address: &str, unknown: Value| json!({"address": address, "change": {"actions": ["create"], "after_unknown": unknown}});
    let configured = |kind: &str, name: &str, expressions: Value| json!({"type": kind, "name": name, "mode": "managed", "expressions": expressions});
    let refers = |references: Value| json!({"references": references});
    let unnamed = || json!({"id": true, "name": true});
    let document = json!({
        "format_version": "1.2", "terraform_version": "1.11.4",
        "planned_values": {"root_module": {"resources": [
            at("azurerm_virtual_network", "azurerm_virtual_network.v", json!({"name": "?", "location": "westeurope", "address_space": ["10.0.0.0/16"]})),
            at("azurerm_virtual_network", "azurerm_virtual_network.taken", json!({"name": "W-0", "location": "westeurope", "address_space": ["10.9.0.0/16"]})),
            at("azurerm_virtual_network", "azurerm_virtual_network.w[0]", json!({"name": "?", "location": "westeurope", "address_space": ["10.1.0.0/16"]})),
            at("azurerm_virtual_network", "azurerm_virtual_network.w[1]", json!({"name": "?", "location": "westeurope", "address_space": ["10.2.0.0/16"]})),
            at("azurerm_network_security_group", "azurerm_network_security_group.n[\"a/b\"]", json!({"name": "?", "location": "westeurope"})),
            at("azurerm_subnet", "azurerm_subnet.s", json!({"name": "s", "address_prefixes": ["10.0.0.0/24"]})),
            at("azurerm_route_table", "azurerm_route_table.known", json!({"name": "known", "location": "westeurope"}))],
            "child_modules": [{"address": "module.hub", "resources": [
                at("azurerm_virtual_network", "module.hub.azurerm_virtual_network.this", json!({"name": "?", "location": "westeurope", "address_space": ["10.3.0.0/16"]}))]}]}},
        "resource_changes": [
            change("azurerm_virtual_network.v", unnamed()), change("azurerm_virtual_network.w[0]", unnamed()), change("azurerm_virtual_network.w[1]", unnamed()),
            change("azurerm_network_security_group.n[\"a/b\"]", json!({"id": true, "name": true, "security_rule": true})),
            change("azurerm_subnet.s", json!({"id": true, "virtual_network_name": true})),
            change("azurerm_route_table.known", json!({"id": true, "name": true, "route": true})),
            change("module.hub.azurerm_virtual_network.this", json!({"id": true, "name": true, "subnet": true, "tags": true}))],
        "configuration": {"root_module": {"resources": [
            configured("azurerm_virtual_network", "v", json!({"name": refers(json!(["random_pet.p.id", "random_pet.p"]))})),
            configured("azurerm_network_security_group", "n", json!({"security_rule": refers(json!(["azurerm_virtual_network.v.id", "azurerm_virtual_network.v"]))})),
            configured("azurerm_subnet", "s", json!({"virtual_network_name": refers(json!(["azurerm_virtual_network.v.name", "azurerm_virtual_network.v"]))}))],
            "module_calls": {"hub": {"module": {"resources": [configured("azurerm_virtual_network", "this", json!({"name": {}, "tags": refers(json!(["var.tags"]))}))]}}}}}
    });
    let plan = read(&document);
    let networks: Vec<_> = plan.after.iter().filter(|one| one.kind.ends_with("/virtualNetworks")).cloned().collect();
    assert_eq!(names(&networks), ["v", "W-0", "w-0-2", "w-1", "hub-this"]);
    assert_eq!(properties(&plan.after, "v")["subnets"][0]["name"], "s");
    assert!(names(&plan.after).contains(&"n-a-b"), "{:?}", names(&plan.after));
    assert_eq!(properties(&plan.after, "n-a-b")["securityRules"], Value::Null);
    // Where the plan says that it is null, too.
    let mut null = document.clone();
    null["planned_values"]["root_module"]["resources"][0]["values"]["name"] = Value::Null;
    assert!(names(&read(&null).after).contains(&"v"));
    let said: Vec<_> = plan.notes.iter().map(|note| (note.kind, note.message.as_str())).collect();
    let name = |address: &str, name: &str| {
        (NoteKind::MadeUp, format!("Terraform knows `{address}.name` only after the apply, so it is `{name}` here."))
    };
    let expected = [
        name("azurerm_virtual_network.v", "v"),
        name("azurerm_virtual_network.w[0]", "w-0-2"),
        name("azurerm_virtual_network.w[1]", "w-1"),
        name("azurerm_network_security_group.n[\"a/b\"]", "n-a-b"),
        name("module.hub.azurerm_virtual_network.this", "hub-this"),
        // What nobody wrote, such as the route table's routes and the network's subnets, is not missed.
        (NoteKind::NotRead, "Terraform knows `azurerm_network_security_group.n[\"a/b\"].security_rule` only after the apply: it is missing here.".to_owned()),
    ];
    assert_eq!(said, expected.iter().map(|(kind, message)| (*kind, message.as_str())).collect::<Vec<_>>());
}

/// Of a network without ranges nothing is left, which is said; an address is allocated as Azure would.
#[test]
fn ranges_that_are_not_known_are_missing() {
    let document = json!({
        "format_version": "1.2", "terraform_version": "1.11.4",
        "planned_values": {"root_module": {"resources": [
            managed("azurerm_virtual_network", "v", json!({"location": "westeurope"})),
            managed("azurerm_public_ip", "p", json!({"location": "westeurope"}))]}},
        "resource_changes": [
            {"address": "azurerm_virtual_network.v", "change": {"after_unknown": {"address_space": true}}},
            {"address": "azurerm_public_ip.p", "change": {"after_unknown": {"ip_address": true, "fqdn": true}}}]
    });
    let said: Vec<_> = read(&document).notes.into_iter().map(|note| (note.kind, note.message)).collect();
    let unknown = |what: &str| format!("Terraform knows `{what}` only after the apply");
    assert_eq!(
        said,
        [
            (NoteKind::NotRead, unknown("azurerm_virtual_network.v.address_space") + ": it is missing here."),
            (NoteKind::MadeUp, unknown("azurerm_public_ip.p.ip_address") + ", so it is allocated."),
        ]
    );
}

/// What joins others and finds them is not mentioned; what does not is.
#[test]
fn an_association_that_joins_nothing_is_named() {
    let balancer = network("loadBalancers/lb");
    let resources = |pool: &str, subnet: Value| {
        json!({"format_version": "1.0", "terraform_version": "1.11.4", "values": {"root_module": {"resources": [
            managed("azurerm_virtual_network", "v", json!({"location": "westeurope", "address_space": ["10.0.0.0/16"], "bgp_community": null,
                "subnet": [{"name": "s", "address_prefixes": ["10.0.0.0/24"]}]})),
            managed("azurerm_lb", "lb", json!({"location": "westeurope", "sku": "Standard"})),
            managed("azurerm_lb_backend_address_pool", "pool", json!({"loadbalancer_id": balancer})),
            managed("azurerm_lb_backend_address_pool_address", "a", json!({"backend_address_pool_id": format!("{balancer}/backendAddressPools/{pool}"), "ip_address": "10.0.0.4"})),
            managed("azurerm_subnet_route_table_association", "x", json!({"subnet_id": subnet, "route_table_id": network("routeTables/t")}))]}}})
    };
    let plan = read(&resources("pool", json!(network("virtualNetworks/v/subnets/s"))));
    assert!(plan.notes.is_empty(), "{:#?}", plan.notes);
    assert!(properties(&plan.after, "v").get("bgpCommunities").is_none(), "what is null is not set");
    let addresses =
        &properties(&plan.after, "lb")["backendAddressPools"][0]["properties"]["loadBalancerBackendAddresses"];
    assert_eq!(addresses[0]["properties"]["ipAddress"], "10.0.0.4");
    let said = |plan: &terraform::Plan| plan.notes.iter().map(|note| note.message.clone()).collect::<Vec<_>>();
    let lost = |address: &str| format!("`{address}` joins nothing that is known here, so it was left out.");
    for subnet in [Value::Null, json!(network("virtualNetworks/v/subnets/lost"))] {
        let plan = read(&resources("other", subnet));
        assert_eq!(
            said(&plan),
            [lost("azurerm_lb_backend_address_pool_address.a"), lost("azurerm_subnet_route_table_association.x")]
        );
    }
}
