//! Functions that look at where the deployment goes: the subscription, the group, the clock.

use crate::arm::{Key, Node, Place, Value};

use super::functions::{Arguments, NOW, shown_date};
use super::machine::{Machine, Outcome, fault};
use super::scope::Env;
use super::{id, unique};

impl Machine<'_> {
    /// The value of such a call, or nothing if the function is not one of these.
    pub(super) fn surroundings(&self, name: &str, given: &Arguments<'_>, env: &Env) -> Option<Outcome<Value>> {
        let target = &env.scope.target;
        if let Some(outcome) = id::call(name, given, target) {
            return Some(outcome);
        }
        let object = |entries: &[(&str, &str)]| Ok(object(given.at, entries));
        Some(match name {
            "subscription" => object(&[
                ("id", &format!("/subscriptions/{}", target.subscription)),
                ("subscriptionId", &target.subscription),
                ("tenantId", &self.context.tenant),
                ("displayName", "lab"),
            ]),
            "tenant" => object(&[("tenantId", &self.context.tenant), ("displayName", "lab"), ("countryCode", "US")]),
            "managementgroup" => object(&[
                ("id", "/providers/Microsoft.Management/managementGroups/lab"),
                ("name", "lab"),
                ("type", "Microsoft.Management/managementGroups"),
            ]),
            "deployer" => object(&[
                ("objectId", &unique::guid("deployer")),
                ("tenantId", &self.context.tenant),
                ("userPrincipalName", "lab@lab.invalid"),
            ]),
            "resourcegroup" => self.group(given, env),
            "deployment" => Ok(self.deployment(given.at, env)),
            "environment" => Ok(environment(given.at)),
            "utcnow" => given.count(0, 1).and_then(|()| {
                self.note(
                    given.at,
                    "`utcNow` returns 2026-01-01T00:00:00Z, for the same template makes the same network.",
                );
                let form = if given.values.is_empty() { "" } else { given.text(0)? };
                if form.len() > 100 {
                    return Err(fault("The form of a date has more than 100 characters"));
                }
                Ok(Value::Text(shown_date(NOW, form)))
            }),
            "newguid" => {
                self.note(given.at, "`newGuid` returns the same value each time it stands in the same place.");
                Ok(Value::Text(unique::guid(&given.at.to_string())))
            }
            "pickzones" => {
                let count = given.integer(3).unwrap_or(1).clamp(0, 3);
                let zone = |zone: i64| given.node(Value::Text(zone.to_string()));
                Ok(Value::List((1..=count).map(zone).collect()))
            }
            "tologicalzone" | "tophysicalzone" => given.count(3, 3).and_then(|()| Ok(Value::Text(given.plain(2)?))),
            "providers" => Ok(self.provider(given)),
            "datacenter" | "externalinput" => Err(fault(format!("The function `{}` needs Azure", given.name))),
            _ => return None,
        })
    }

    fn group(&self, given: &Arguments<'_>, env: &Env) -> Outcome<Value> {
        let target = &env.scope.target;
        let group =
            target.group.as_deref().ok_or_else(|| fault("A deployment to a subscription has no resource group"))?;
        let mut value = object(
            given.at,
            &[
                ("id", &target.path()),
                ("name", group),
                ("type", "Microsoft.Resources/resourceGroups"),
                ("location", &self.context.location),
            ],
        );
        if let Value::Object(entries) = &mut value {
            let state = object(given.at, &[("provisioningState", "Succeeded")]);
            entries.push((Key::new(given.at, "tags"), given.node(Value::Object(Vec::new()))));
            entries.push((Key::new(given.at, "properties"), given.node(state)));
        }
        Ok(value)
    }

    fn deployment(&self, at: &Place, env: &Env) -> Value {
        let node = |value| Node { at: at.clone(), value };
        let link = node(object(at, &[("uri", &env.scope.uri), ("contentVersion", "1.0.0.0")]));
        let parameters = env.scope.parameters().map(|name| (Key::new(at, name), node(Value::Object(Vec::new()))));
        let properties = Value::Object(vec![
            (Key::new(at, "templateLink"), link),
            (Key::new(at, "template"), node(object(at, &[("contentVersion", "1.0.0.0")]))),
            (Key::new(at, "parameters"), node(Value::Object(parameters.collect()))),
            (Key::new(at, "mode"), node(Value::Text("Incremental".to_owned()))),
            (Key::new(at, "provisioningState"), node(Value::Text("Accepted".to_owned()))),
        ]);
        let mut value = object(at, &[("name", &env.scope.deployment), ("location", &self.context.location)]);
        if let Value::Object(entries) = &mut value {
            entries.push((Key::new(at, "properties"), node(properties)));
        }
        value
    }

    /// What `providers` says was always made for one region; one version and all that is asked for.
    fn provider(&self, given: &Arguments<'_>) -> Value {
        let list = |text: &str| given.node(Value::List(vec![given.node(Value::Text(text.to_owned()))]));
        self.note(given.at, "`providers` returns an API version that was made up.");
        let one = Value::Object(vec![
            (Key::new(given.at, "apiVersions"), list("2024-05-01")),
            (Key::new(given.at, "locations"), list(&self.context.location)),
        ]);
        if given.values.len() > 1 {
            return one;
        }
        Value::Object(vec![(Key::new(given.at, "resourceTypes"), given.node(Value::List(vec![given.node(one)])))])
    }
}

fn object(at: &Place, entries: &[(&str, &str)]) -> Value {
    let node = |text: &str| Node { at: at.clone(), value: Value::Text(text.to_owned()) };
    Value::Object(entries.iter().map(|(key, text)| (Key::new(at, *key), node(text))).collect())
}

/// The public cloud.
fn environment(at: &Place) -> Value {
    let mut value = object(
        at,
        &[
            ("name", "AzureCloud"),
            ("gallery", "https://gallery.azure.com/"),
            ("graph", "https://graph.windows.net/"),
            ("graphAudience", "https://graph.windows.net/"),
            ("portal", "https://portal.azure.com"),
            ("media", "https://rest.media.azure.net"),
            ("batch", "https://batch.core.windows.net/"),
            ("resourceManager", "https://management.azure.com/"),
            ("sqlManagement", "https://management.core.windows.net:8443/"),
            (
                "vmImageAliasDoc",
                "https://raw.githubusercontent.com/Azure/azure-rest-api-specs/master/arm-compute/quickstart-templates/aliases.json",
            ),
            ("activeDirectoryDataLake", "https://datalake.azure.net/"),
        ],
    );
    let authentication = object(
        at,
        &[("loginEndpoint", "https://login.microsoftonline.com/"), ("tenant", "common"), ("identityProvider", "AAD")],
    );
    let suffixes = object(
        at,
        &[
            ("storage", "core.windows.net"),
            ("keyvaultDns", ".vault.azure.net"),
            ("sqlServerHostname", ".database.windows.net"),
            ("azureDatalakeStoreFileSystem", "azuredatalakestore.net"),
            ("azureDatalakeAnalyticsCatalogAndJob", "azuredatalakeanalytics.net"),
            ("azureFrontDoorEndpointSuffix", "azurefd.net"),
            ("acrLoginServer", ".azurecr.io"),
        ],
    );
    if let Value::Object(entries) = &mut value {
        entries.push((Key::new(at, "authentication"), Node { at: at.clone(), value: authentication }));
        entries.push((Key::new(at, "suffixes"), Node { at: at.clone(), value: suffixes }));
    }
    value
}
