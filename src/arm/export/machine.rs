//! Machines: each an interface resource for each of its interfaces, and the machine that has them.

use serde_json::{Value, json};

use super::tables::INTERFACE;
use super::{COMPUTE, Exporter, flat, id, names, text};

pub(super) const KIND: &str = "Microsoft.Compute/virtualMachines";
const NICS: &str = "Microsoft.Network/networkInterfaces";
/// The tag with an interface's name in its machine: a resource group has each name once.
const NAME_TAG: &str = "vnetName";

/// What a deployment asks for: nothing of it says anything about packets.
pub(super) fn parameters() -> Value {
    json!({
        "adminUsername": { "type": "string", "defaultValue": "azureuser" },
        "adminPublicKey": { "type": "securestring", "metadata": { "description": "The machines' SSH key." } },
        "vmSize": { "type": "string", "defaultValue": "Standard_B1s" },
    })
}

impl Exporter<'_> {
    pub(super) fn machine(&mut self, machine: &Value) {
        let name = text(&machine["name"]);
        for (key, message) in [
            ("run", "programs of machines (`run`) are not exported"),
            ("guest", "the settings of machines' kernels (`guest`) are not exported"),
            ("powerState", "Azure starts every machine that it makes: `powerState` is not exported"),
        ] {
            if !machine[key].is_null() {
                self.omit(key, message);
            }
        }
        let written: Vec<Value> = machine["networkInterfaces"].as_array().into_iter().flatten().map(flat).collect();
        let first = written.iter().position(|nic| nic["primary"] == true).unwrap_or(0);
        let (mut references, mut needs) = (Vec::new(), Vec::new());
        for (index, nic) in written.iter().enumerate() {
            let resource = self.interface(&name, index, nic);
            let own = id(NICS, &[&resource]);
            references.push(json!({ "id": own, "properties": { "primary": index == first } }));
            needs.push(own);
        }
        let location = self.location_of(written.first());
        self.resources.push(json!({
            "type": KIND,
            "apiVersion": COMPUTE,
            "name": name,
            "location": location,
            "dependsOn": needs,
            "properties": properties(&name, &references),
        }));
    }

    /// Adds an interface; the name of its resource.
    fn interface(&mut self, machine: &str, index: usize, nic: &Value) -> String {
        let own = nic["name"].as_str().map_or_else(|| format!("eth{index}"), str::to_owned);
        let name = format!("{machine}-{own}");
        let mut nic = nic.clone();
        let inline = [
            "subnet",
            "privateIPAddress",
            "publicIPAddress",
            "applicationSecurityGroups",
            "loadBalancerBackendAddressPools",
            "loadBalancerInboundNatRules",
        ];
        if let Some(object) = nic.as_object_mut() {
            let mut configuration = serde_json::Map::new();
            configuration.insert("name".to_owned(), json!("ipconfig1"));
            for key in inline {
                configuration.extend(object.remove(key).map(|value| (key.to_owned(), value)));
            }
            object.remove("primary");
            object.entry("ipConfigurations").or_insert_with(|| json!([configuration]));
            object.insert("name".to_owned(), json!(name));
            object.insert("tags".to_owned(), json!({ NAME_TAG: own }));
            object.insert(
                "location".to_owned(),
                json!(self.location_of(Some(&json!({ "ipConfigurations": object["ipConfigurations"] })))),
            );
        }
        let configurations = nic["ipConfigurations"].as_array_mut().into_iter().flatten().enumerate();
        for (at, configuration) in configurations {
            let mut own = flat(configuration);
            if own["name"].is_null() {
                own["name"] = json!(format!("ipconfig{}", at + 1));
            }
            self.inline_address(&mut own);
            *configuration = own;
        }
        self.resource(NICS, &nic, &INTERFACE);
        name
    }

    /// A public address that is written in the configuration becomes a resource.
    fn inline_address(&mut self, configuration: &mut Value) {
        let public = &configuration["publicIPAddress"];
        if public["name"].is_null() {
            return;
        }
        let (public, name) = (flat(public), public["name"].clone());
        let kind = super::tables::LISTS.iter().find(|(list, ..)| *list == "publicIPAddresses");
        if let Some((_, kind, table)) = kind {
            self.resource(kind, &public, table);
        }
        configuration["publicIPAddress"] = name;
    }

    /// The region of an interface: that of its virtual network.
    pub(super) fn location_of(&self, nic: Option<&Value>) -> String {
        let first =
            nic.map(|nic| if nic["subnet"].is_null() { flat(&nic["ipConfigurations"][0]) } else { nic.clone() });
        let subnet = first.map(|first| names("Microsoft.Network/virtualNetworks/subnets", &first["subnet"]));
        let vnet = subnet.and_then(|names| names.into_iter().next()).unwrap_or_default();
        let vnets = self.items("virtualNetworks");
        let own = vnets.iter().find(|one| text(&one["name"]).eq_ignore_ascii_case(&vnet));
        own.map_or_else(|| self.location(), |one| text(&one["location"]))
    }
}

fn properties(name: &str, interfaces: &[Value]) -> Value {
    json!({
        "hardwareProfile": { "vmSize": "[parameters('vmSize')]" },
        "storageProfile": {
            "imageReference": { "publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest" },
            "osDisk": { "createOption": "FromImage" },
        },
        "osProfile": {
            "computerName": name,
            "adminUsername": "[parameters('adminUsername')]",
            "linuxConfiguration": {
                "disablePasswordAuthentication": true,
                "ssh": { "publicKeys": [{
                    "path": "[format('/home/{0}/.ssh/authorized_keys', parameters('adminUsername'))]",
                    "keyData": "[parameters('adminPublicKey')]",
                }] },
            },
        },
        "networkProfile": { "networkInterfaces": interfaces },
    })
}
