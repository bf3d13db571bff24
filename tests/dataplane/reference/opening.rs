//! A decision for all source ports, against the pipeline's on each of them.

use super::*;
use vnet::dataplane::{Admission, Direction, Opening, RuleId, opening};

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;

/// What becomes of a first packet where no flow is known: where it goes, and which rules decide.
fn alone(snapshot: &Snapshot, flows: &Flows, from: PortId, sent: &Sent, flags: u8) -> (Verdict, Vec<RuleId>) {
    struct Rules<'a>(&'a Snapshot, Vec<RuleId>);
    impl Observer for Rules<'_> {
        fn step(&mut self, step: Step) {
            if let Step::Admit { admission: Admission::Rule { acl, rule, .. }, .. } = step {
                self.1.extend(self.0.acl(acl).id(rule));
            }
        }
    }
    let (mut bytes, mut rules) = (sent.bytes(flags), Rules(snapshot, Vec::new()));
    let mut packet = Wire::parse(&mut bytes, Offload::default()).unwrap();
    let verdict = process(snapshot, flows, from, Timestamp(7), &mut packet, &mut rules);
    (verdict, rules.1)
}

/// Records, rules and both ways are those of the pipeline.
fn assert_is_decided(snapshot: &Snapshot, granted: &Opening, sent: &Sent) {
    let flows = Flows::new(FlowLimits { per_nic: 10, total: 100 });
    let [from, to] = granted.ports;
    let (verdict, rules) = alone(snapshot, &flows, from, sent, SYN);
    assert_eq!(verdict, Verdict::Forward(to), "{sent:?}");
    assert_eq!(rules, granted.rules().collect::<Vec<_>>(), "{sent:?}");
    for (end, direction) in [Direction::Outbound, Direction::Inbound].into_iter().enumerate() {
        let record = flows.records.find(granted.nics[end], direction, &sent.tuple(), Timestamp(7));
        assert_eq!(record.unwrap().rules, granted.deciders[end], "{sent:?}");
    }
    let back = alone(snapshot, &flows, to, &sent.mirrored(), SYN_ACK);
    assert_eq!(back, (Verdict::Forward(from), Vec::new()), "{sent:?}");
}

#[test]
fn what_is_decided_for_all_source_ports_is_decided_for_each() {
    let (mut granted, mut refused) = (0, 0);
    for seed in 0..QUESTIONED {
        let mut random = Random::new(seed);
        let network = random.network();
        let compiled = compile(&network, &Learned::default(), 1);
        let attachments = network.attachments();
        for _ in 0..10 * QUESTIONS {
            let (from, sent) = random.packet(&network, &attachments, &[]);
            let sent = Sent { kind: Kind::Tcp, ..sent };
            let port = PortId(attachments.iter().position(|at| *at == from).unwrap() as u32);
            let snapshot = &compiled.snapshot;
            let Some(opening) = opening(snapshot, port, &sent.tuple()) else {
                let flows = Flows::new(FlowLimits { per_nic: 10, total: 100 });
                let passes = alone(snapshot, &flows, port, &sent, SYN).0;
                refused += usize::from(matches!(passes, Verdict::Forward(_)));
                continue;
            };
            granted += 1;
            assert_eq!(opening.ports[0], port);
            for src_port in [sent.src_port, 0, 1, 1023, 1024, 8080, 50_000, u16::MAX] {
                assert_is_decided(snapshot, &opening, &Sent { src_port, ..sent });
            }
        }
    }
    assert!(granted >= 100 && refused >= 100, "{granted} granted, {refused} that pass are not");
}
