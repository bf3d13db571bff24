//! A word where Azure would not answer: it knows effective routes and rules of machines that run (NIC-07).

use crate::daemon::api::protocol::{Request, Response};
use crate::model::{Network, PowerState};

use super::context::Context;
use super::failure::Failure;

/// Says so if the target of an answer is a machine that is stopped: in a file's network, or in the lab that was asked.
pub(super) fn note(target: &str, network: Option<&Network>, context: &Context) -> Result<(), Failure> {
    let stopped: Vec<String> = match network {
        Some(network) => {
            let machines = network.virtual_machines.iter();
            machines.filter(|vm| vm.power_state == PowerState::Stopped).map(|vm| vm.name.clone()).collect()
        }
        None => match context.ask(&Request::Status)? {
            Response::Status(status) => {
                let nodes = status.nodes.into_iter();
                nodes.filter(|node| node.power_state == PowerState::Stopped).map(|node| node.name).collect()
            }
            _ => Vec::new(),
        },
    };
    let machine = target.split('/').next().unwrap_or(target);
    if stopped.iter().any(|stopped| stopped.eq_ignore_ascii_case(machine)) {
        context.messages.note(&format!("machine {machine} is stopped: Azure answers for machines that run"));
    }
    Ok(())
}
