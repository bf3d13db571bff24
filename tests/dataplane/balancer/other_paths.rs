//! Answers that take another path than the balancer (LB-46).

use std::time::Instant;

use super::*;

#[test]
fn lb_46_an_answer_that_a_route_takes_elsewhere_is_left_as_it_is() {
    let lab = Lab::new(&FILE.replace(
        "{name: back, addressPrefix: 10.1.1.0/24}",
        "{name: back, addressPrefix: 10.1.1.0/24, routeTable: back}",
    ));
    let (node, _) = lab.send("client", &tcp((CLIENT, 5000), (WEB, 80), SYN)).unwrap();
    let answer = tcp((address(&node), 8080), (CLIENT, 5000), SYN | ACK);
    let (elsewhere, bytes) = lab.send(&node, &answer).unwrap();
    assert!(elsewhere.starts_with("nva"));
    assert_eq!(bytes, answer);
}

/// Through an appliance that may put its own address in place of what it forwards.
fn astray(masquerade: &str) -> Explanation {
    let (subnet, nva) = (
        "{name: back, addressPrefix: 10.1.1.0/24}",
        "{name: nva1, networkInterfaces: [{subnet: v/nva, privateIPAddress: 10.1.9.4, enableIPForwarding: true,",
    );
    assert!(FILE.contains(subnet) && FILE.contains(nva));
    let file = FILE
        .replace(subnet, "{name: back, addressPrefix: 10.1.1.0/24, routeTable: back}")
        .replace("nextHopIpAddress: 10.1.9.100}]\n  - name: back", "nextHopIpAddress: 10.1.9.4}]\n  - name: back")
        .replace(
            "10.1.5.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.1.9.100",
            "10.1.5.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.1.9.4",
        )
        .replace(nva, &nva.replace("{name: nva1,", &format!("{{name: nva1, guest: {{masquerade: {masquerade}}},")));
    let lab = Lab::new(&file);
    analysis::explain(
        &lab.network,
        &lab.compiled,
        &analysis::parse_query("client", &format!("{WEB}:80")).unwrap(),
        Instant::now(),
    )
    .unwrap()
}

#[test]
fn lb_46_an_answer_that_comes_past_the_balancer_is_none() {
    let answer = astray("false");
    assert_eq!(answer.verdict, Answer::Blocked);
    assert_eq!(answer.back.unwrap().dropped.as_deref(), Some("WrongSource"));
    let cause = answer.cause.unwrap();
    assert!(cause.starts_with("on the way back: the answer comes from 10.1.1."), "{cause}");
    assert!(cause.contains(":8080, and 10.1.0.100:80 was asked; "), "{cause}");
    assert!(cause.ends_with("past load balancer lb, rule http, which alone knows what was asked (LB-46)"), "{cause}");
    let fix = answer.fix.unwrap();
    assert_eq!(
        fix.text,
        "publish the server at nva1 instead, or give subnet v/back a route for 10.1.5.4 that does not lead there"
    );
    assert!(fix.changes.is_empty() && !fix.checked);
}

#[test]
fn lb_46_an_appliance_that_masquerades_answers_under_its_own_address() {
    let answer = astray("all");
    assert_eq!(answer.verdict, Answer::Blocked);
    let cause = answer.cause.unwrap();
    assert!(
        cause.starts_with(
            "on the way back: the answer comes from 10.1.9.4:8080, and 10.1.0.100:80 was asked: the guest of nva1 puts its own address in place of the answer's; "
        ),
        "{cause}"
    );
    assert!(cause.ends_with("(LB-46)"), "{cause}");
}

/// A server with a public address, or behind a public load balancer, with a default route to an appliance.
#[test]
fn lb_46_the_internet_is_not_answered_by_an_appliance() {
    let routed = PUBLIC
        .replace("virtualNetworks:", "routeTables:\n  - {name: all, routes: [{name: all, addressPrefix: 0.0.0.0/0, nextHopType: VirtualAppliance, nextHopIpAddress: 10.1.2.4}]}\nvirtualNetworks:")
        .replace("networkSecurityGroup: open}]", "networkSecurityGroup: open, routeTable: all}, {name: n, addressPrefix: 10.1.2.0/24}]")
        .replace("name: two, ipAddress: 203.0.113.31}", "name: two, ipAddress: 203.0.113.31}, {name: w, ipAddress: 203.0.113.32}, {name: n, ipAddress: 203.0.113.33}");
    let machines = |masquerade| {
        format!(
            "{routed}  - {{name: web, networkInterfaces: [{{subnet: v/s, publicIPAddress: w}}]}}\n  - {{name: nva, guest: {{masquerade: {masquerade}}}, networkInterfaces: [{{subnet: v/n, enableIPForwarding: true, publicIPAddress: n}}]}}\n"
        )
    };
    let ask = |masquerade, to: &str| {
        let lab = Lab::new(&machines(masquerade));
        analysis::explain(&lab.network, &lab.compiled, &analysis::parse_query("internet", to).unwrap(), Instant::now())
            .unwrap()
    };
    for (to, balanced) in [("203.0.113.30:80", true), ("203.0.113.32:8080", false)] {
        let masked = ask(true, to);
        assert_eq!(masked.back.unwrap().dropped.as_deref(), Some("WrongSource"));
        let cause = masked.cause.unwrap();
        assert!(cause.contains("the answer comes from 203.0.113.33:8080"), "{cause}");
        assert!(cause.contains(&format!("and {to} was asked: the guest of nva ")), "{cause}");
        assert_eq!(cause.ends_with("(LB-46)"), balanced, "{cause}");
        // An address of the appliance's own would not help.
        let plain = ask(false, to);
        assert_eq!(plain.back.unwrap().dropped.as_deref(), Some("NoOutbound"));
        assert_eq!(plain.cause.unwrap().ends_with("(LB-46)"), balanced);
        let fix = plain.fix.unwrap();
        assert!(fix.changes.is_empty() && fix.text.starts_with("publish the server at nva instead"), "{}", fix.text);
    }
}
