//! A world's conversation with its device, taken down as a transcript that `replay` reads.

use crate::guest::{RAM_BASE, RAM_BYTES};
use crate::knobs::Knobs;
use crate::ram::Ram;
use crate::world::{Answer, Device, answer, watched};
use serde_json::{Value, json};
use smmuv3::format::event::EventKind;
use smmuv3::format::regs::Reg;
use smmuv3::{Behaviour, Memory, NoTrace, Pa, Settings, Smmu, Transaction};

#[derive(Clone)]
pub(crate) struct Tape {
    pub(crate) lines: String,
    /// Devices of another shape and behaviour: what they answer is as legal.
    others: Vec<Device>,
    ram: Ram,
    /// Answers differed since the queue was drained, so any records will do.
    any: bool,
}

impl Tape {
    /// A tape whose first line says what the device is.
    pub(crate) fn new(name: &str, knobs: &Knobs, streams: &[u32]) -> Result<Self, smmuv3::ConfigError> {
        let features = &knobs.features;
        let idr = |n: usize| format!("{:#x}", features.idr(n));
        let stage = match (features.s1p, features.s2p) {
            (true, true) => "nested",
            (false, true) => "2",
            _ => "1",
        };
        let first = json!({
            "op": "config", "version": 1.1, "name": name, "category": "page", "stage": stage,
            "idr": {
                "IDR0": idr(0), "IDR1": idr(1), "IDR2": idr(2), "IDR3": idr(3), "IDR4": idr(4), "IDR5": idr(5),
                "IIDR": format!("{:#x}", features.iidr), "AIDR": format!("{:#x}", features.aidr()),
            },
            "ram": [{ "base": format!("{RAM_BASE:#x}"), "size": format!("{RAM_BYTES:#x}") }],
            "sids": streams, "source": "smmuv3's page",
        });
        let mut others = Vec::new();
        for behaviour in [Behaviour::Natural, Behaviour::Strict] {
            for walk_cache in [true, false] {
                let settings = Settings { behaviour, walk_cache, ..Settings::new(1024, 4) };
                others.push(Smmu::new(*features, settings)?);
            }
        }
        Ok(Self { lines: format!("{first}\n"), others, ram: Ram::default(), any: false })
    }

    fn line(&mut self, value: &Value) {
        self.lines += &format!("{value}\n");
    }

    pub(crate) fn note(&mut self, text: &str) {
        self.line(&json!({ "op": "note", "note": text }));
    }

    pub(crate) fn write(&mut self, pa: u64, data: &[u8]) {
        let _outside_of_memory = self.ram.write(Pa(pa), data);
        self.line(&json!({ "op": "write", "pa": format!("{pa:#x}"), "hex": hexadecimal(data) }));
    }

    /// What changed between two states of memory.
    pub(crate) fn memory(&mut self, before: &Ram, after: &Ram) {
        for (pa, data) in after.changes(before) {
            self.write(pa, &data);
        }
    }

    pub(crate) fn register(&mut self, offset: u32, data: &[u8], value: u64) {
        for other in &mut self.others {
            let mut nobody = NoTrace;
            let mut env = watched(&mut self.ram, &mut nobody);
            // The machine's own device says whether the access is refused.
            let _the_same = other.write(offset, data, &mut env);
            while other.pending() && other.poll(4096, &mut env) != 0 {}
        }
        self.line(&json!({
            "op": "mmio_w", "off": format!("{offset:#x}"), "size": data.len(), "val": format!("{value:#x}"),
        }));
    }

    pub(crate) fn dma(&mut self, transaction: &Transaction, result: &Answer, truth: &Answer) {
        let mut legal = vec![*result];
        let mut offer = |other: Answer| {
            if !legal.contains(&other) {
                legal.push(other);
            }
        };
        offer(*truth);
        for other in &mut self.others {
            // Each writes its own record to the same place; the guest's memory is restored afterwards.
            let mut ram = self.ram.clone();
            offer(answer(other.translate(transaction, &mut watched(&mut ram, &mut NoTrace))));
        }
        let write = matches!(transaction.access, smmuv3::Access::Write);
        let mut line = json!({
            "op": "dma", "sid": transaction.stream.0, "ssid": null, "iova": format!("{:#x}", transaction.address.0),
            "access": if write { "w" } else { "r" }, "len": 1, "expect": value(result),
        });
        if let Some(object) = line.as_object_mut() {
            if write {
                object.insert("data".to_owned(), json!("00"));
            }
            let rest: Vec<Value> = legal.iter().skip(1).map(value).collect();
            if !rest.is_empty() {
                object.insert("alt".to_owned(), Value::Array(rest));
                self.any = true;
            }
        }
        self.line(&line);
    }

    pub(crate) fn events(&mut self, records: &[[u64; 4]]) {
        for other in &mut self.others {
            let prod = other.registers().get(Reg::EventqProd) as u32;
            let mut nobody = NoTrace;
            let mut env = watched(&mut self.ram, &mut nobody);
            let _never_refused = other.write(Reg::EventqCons.row().offset, &prod.to_le_bytes(), &mut env);
        }
        if core::mem::take(&mut self.any) {
            return self.line(&json!({ "op": "events", "any": true }));
        }
        let rows: Vec<Value> = records
            .iter()
            .map(|words| {
                let image: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                let kind = EventKind::from_number(image.first().copied().unwrap_or(0));
                json!({
                    "type": kind.map_or("unknown", EventKind::name), "hex": hexadecimal(&image), "mask": "ff".repeat(32),
                })
            })
            .collect();
        self.line(&json!({ "op": "events", "expect": rows }));
    }
}

fn value(answer: &Answer) -> Value {
    match answer {
        Ok(pa) => json!({ "pa": format!("{pa:#x}") }),
        Err(event) => json!({ "fault": true, "event": event }),
    }
}

fn hexadecimal(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}
