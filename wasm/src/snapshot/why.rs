//! Why an entry goes or stays under a command, as the why-panel shows it.

use crate::command;
use crate::frame::{Question, name, stale, staleness, truth};
use crate::text::{bytes, hex};
use crate::world::World;
use serde::Serialize;
use smmuv3::arch::entry::Entry;
use smmuv3::arch::id::StreamWorld;
use smmuv3::cache::scope::{Answer as Holds, AsidScope, Regime, Scope, Stages, Verdict};
use smmuv3::env::trace::Reason;
use smmuv3::{Granule, Stage};

/// Why an entry goes or stays: every predicate.
#[derive(Serialize)]
pub(crate) struct Why {
    entry: Vec<[String; 2]>,
    command: String,
    rows: Vec<Predicate>,
    goes: bool,
    needed: bool,
    sentence: String,
    truth: String,
    stale: bool,
    slot: u32,
}

#[derive(Serialize)]
struct Predicate {
    name: &'static str,
    answer: &'static str,
    asks: String,
    has: String,
    /// Why it is not asked, where it is not.
    note: &'static str,
    decides: bool,
}

pub(crate) fn why(world: &World, slot: u32, question: Option<&Question>) -> Option<Why> {
    let (_, entry) = world.smmu.iotlb().entries().find(|(at, _)| *at == Some(slot as usize))?;
    let entry = &entry;
    let known = truth(world, entry);
    let state = staleness(world, entry);
    let is_stale = state == stale::MOVED || state == stale::GONE;
    let truth_text = match known {
        None => "translates intermediate addresses: no device's address leads to it alone".to_owned(),
        Some(answer) if is_stale => {
            format!(
                "a DMA to {} lands at {}, the tables say {}",
                hex(entry.input),
                hex(entry.output.0),
                answer.words()
            )
        }
        Some(_) => "the tables say the same".to_owned(),
    };
    let mut rows = Vec::new();
    let (mut goes, mut needed) = (false, false);
    let mut sentence = "no TLBI is composed and none has been executed".to_owned();
    if let Some(question) = question {
        let judgement = question.applied.judge(entry);
        let verdict = judgement.verdict();
        goes = verdict == Verdict::Drop;
        needed = question.letter.verdict(entry) == Verdict::Drop;
        let first = judgement
            .answers()
            .into_iter()
            .find(|(answer, _)| *answer == Holds::Fails)
            .map(|(_, reason)| reason);
        for (answer, reason) in judgement.answers() {
            let (asks, has) = describe(&question.applied, entry, reason);
            rows.push(Predicate {
                name: name(reason),
                answer: match answer {
                    Holds::Unasked => "unasked",
                    Holds::Holds => "holds",
                    Holds::Fails => "fails",
                },
                asks,
                has,
                note: if answer == Holds::Unasked { unasked(reason, &question.applied) } else { "" },
                decides: first == Some(reason),
            });
        }
        sentence = match verdict {
            Verdict::Drop if needed => {
                "It goes: every predicate that the command asks holds, and the architecture demands it."
                    .to_owned()
            }
            Verdict::Drop => {
                let spared = match question.letter.verdict(entry) {
                    Verdict::Spare(reason) => name(reason),
                    Verdict::Drop => "",
                };
                format!(
                    "It goes in excess: {spared} would let it stay, but this implementation takes that as a hint."
                )
            }
            Verdict::Spare(reason) => {
                let mut text = format!("It stays: {}.", because(reason));
                if is_stale {
                    text += match reason {
                        Reason::Regime | Reason::Vmid | Reason::Asid | Reason::Global => {
                            " It is stale as well: its own address space needs a command of its own."
                        }
                        _ => " And it is stale: another command is needed.",
                    };
                }
                text
            }
        };
    }
    Some(Why {
        entry: facts(world, entry),
        command: question.map_or_else(String::new, |question| {
            command::sentence(question.command.encode(), Some(&question.command))
        }),
        rows,
        goes,
        needed,
        sentence,
        truth: truth_text,
        stale: is_stale,
        slot,
    })
}

const fn because(reason: Reason) -> &'static str {
    match reason {
        Reason::Regime => "it belongs to another exception level's translations",
        Reason::Stage => "the command names the other stage alone; combined entries go by CMD_TLBI_NH_*",
        Reason::Vmid => "it belongs to another VMID",
        Reason::Asid => "it belongs to another ASID",
        Reason::Global => "it is global, and a command by ASID need not drop global entries",
        Reason::Span => "its addresses and the command's do not overlap",
        Reason::Granule => "TG names another granule than the one it was made with",
        Reason::Level => "TTL says that the leaf is at another level than it is",
        Reason::Leaf => "Leaf = 1 spares tables",
    }
}

/// Why a predicate is not asked of an entry of the IOTLB.
const fn unasked(reason: Reason, scope: &Scope) -> &'static str {
    match reason {
        Reason::Leaf => "not asked: every entry of the IOTLB is a leaf, and goes with either value",
        Reason::Global => match scope.asid {
            AsidScope::Any => "not asked: the command names no ASID",
            _ => "not asked: global entries go as well as others",
        },
        Reason::Asid => match scope.asid {
            AsidScope::Any => "not asked: the command names no ASID",
            _ => "not asked: such an entry has none",
        },
        Reason::Regime | Reason::Stage => "not asked: all go alike",
        Reason::Vmid => "not asked: the command names no VMID",
        Reason::Span => "not asked: the command names every address",
        Reason::Granule => "not asked: without a range TG names nothing",
        Reason::Level => "not asked: TTL = 0 promises nothing",
    }
}

fn facts(world: &World, entry: &Entry) -> Vec<[String; 2]> {
    let fact = |name: &str, value: String| [name.to_owned(), value];
    let mut facts = vec![
        fact("input", format!("{}, {}", hex(entry.input), bytes(1 << entry.log2_size))),
        fact("output", hex(entry.output.0)),
        fact("ASID", if entry.global { "any (global)".to_owned() } else { entry.space.asid.0.to_string() }),
        fact("VMID", entry.space.vmid.0.to_string()),
    ];
    for (name, leaf) in [("stage 1 leaf", entry.s1), ("stage 2 leaf", entry.s2)] {
        if let Some(leaf) = leaf {
            let text = format!(
                "level {}, {} of {}",
                leaf.level.number(),
                bytes(1 << leaf.log2_size),
                granule(leaf.granule)
            );
            facts.push(fact(name, text));
        }
    }
    if let Some(origin) = world.watch.origin(entry) {
        facts
            .push(fact("filled", format!("step {}, by stream {}", origin.when, origin.transaction.stream.0)));
    }
    facts
}

const fn granule(granule: Granule) -> &'static str {
    match granule {
        Granule::Kib4 => "4 KiB granule",
        Granule::Kib16 => "16 KiB granule",
        Granule::Kib64 => "64 KiB granule",
    }
}

/// What a predicate compares: the command's side and the entry's.
fn describe(scope: &Scope, entry: &Entry, reason: Reason) -> (String, String) {
    let world = |world: StreamWorld| match world {
        StreamWorld::El1 => "NS-EL1",
        StreamWorld::El2 => "NS-EL2",
        StreamWorld::El2E2h => "NS-EL2-E2H",
    };
    let leaf = entry.own_leaf();
    match reason {
        Reason::Regime => {
            let asks = match scope.regime {
                Regime::One(one) => world(one),
                Regime::AnyEl2 => "any EL2",
            };
            (asks.to_owned(), world(entry.space.world).to_owned())
        }
        Reason::Stage => {
            let asks = match scope.stage {
                Stages::S1 => "stage 1, alone or combined",
                Stages::S2 => "stage 2 alone",
                Stages::Both => "any",
            };
            let has = match (entry.space.stage, entry.s1.is_some() && entry.s2.is_some()) {
                (Stage::S1, true) => "stages 1 and 2 combined",
                (Stage::S1, false) => "stage 1",
                (Stage::S2, _) => "stage 2",
            };
            (asks.to_owned(), has.to_owned())
        }
        Reason::Vmid => (
            scope.vmid.map_or_else(|| "any".to_owned(), |vmid| vmid.vmid.0.to_string()),
            entry.space.vmid.0.to_string(),
        ),
        Reason::Global => {
            let asks = if matches!(scope.asid, AsidScope::Only(_)) { "not global" } else { "any" };
            (asks.to_owned(), if entry.global { "global" } else { "not global" }.to_owned())
        }
        Reason::Asid => {
            let asks = match scope.asid {
                AsidScope::Any => "any".to_owned(),
                AsidScope::Only(asid) => asid.0.to_string(),
                AsidScope::OrGlobal(asid) => format!("{} or global", asid.0),
            };
            (asks, if entry.global { "global".to_owned() } else { entry.space.asid.0.to_string() })
        }
        Reason::Span => {
            let asks = scope
                .span
                .map_or_else(|| "any".to_owned(), |span| format!("{} … {}", hex(span.first), hex(span.last)));
            let (start, log2) = entry.leaf_span();
            (asks, format!("{} … {}", hex(start), hex(start + ((1u64 << log2) - 1))))
        }
        Reason::Leaf => (
            if scope.leaf_only { "leaves only" } else { "leaves and tables" }.to_owned(),
            "a leaf".to_owned(),
        ),
        Reason::Granule => {
            let asks = scope.granule.map_or("any", granule);
            (asks.to_owned(), leaf.map_or("none", |leaf| granule(leaf.granule)).to_owned())
        }
        Reason::Level => {
            let asks =
                scope.level.map_or_else(|| "any".to_owned(), |level| format!("level {}", level.number()));
            (asks, leaf.map_or_else(|| "none".to_owned(), |leaf| format!("level {}", leaf.level.number())))
        }
    }
}
