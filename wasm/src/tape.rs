//! A world's conversation with its device, taken down as a transcript that `replay` reads.

use crate::guest::{RAM_BASE, RAM_BYTES};
use crate::knobs::Knobs;
use crate::ram::Ram;
use crate::world::{Answer, Device, answer, watched};
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
        let registers: String = (0..6).map(|n| format!("\"IDR{n}\":\"{}\",", idr(n))).collect();
        let first = format!(
            "{{\"op\":\"config\",\"version\":1.1,\"name\":{},\"category\":\"page\",\"stage\":\"{stage}\",\"idr\":{{{registers}\
             \"IIDR\":\"{:#x}\",\"AIDR\":\"{:#x}\"}},\"ram\":[{{\"base\":\"{RAM_BASE:#x}\",\"size\":\"{RAM_BYTES:#x}\"}}],\
             \"sids\":{streams:?},\"source\":\"smmuv3's page\"}}",
            text(name),
            features.iidr,
            features.aidr(),
        );
        let mut others = Vec::new();
        for behaviour in [Behaviour::Natural, Behaviour::Strict] {
            for walk_cache in [true, false] {
                let settings = Settings { behaviour, walk_cache, ..Settings::new(1024, 4) };
                others.push(Smmu::new(*features, settings)?);
            }
        }
        Ok(Self { lines: format!("{first}\n"), others, ram: Ram::default(), any: false })
    }

    fn line(&mut self, op: &str, rest: &str) {
        self.lines += &format!("{{\"op\":\"{op}\",{rest}}}\n");
    }

    pub(crate) fn note(&mut self, text: &str) {
        self.line("note", &format!("\"note\":{}", self::text(text)));
    }

    pub(crate) fn write(&mut self, pa: u64, data: &[u8]) {
        let _outside_of_memory = self.ram.write(Pa(pa), data);
        self.line("write", &format!("\"pa\":\"{pa:#x}\",\"hex\":\"{}\"", hexadecimal(data)));
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
        self.line(
            "mmio_w",
            &format!("\"off\":\"{offset:#x}\",\"size\":{},\"val\":\"{value:#x}\"", data.len()),
        );
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
        let mut line = format!(
            "\"sid\":{},\"ssid\":null,\"iova\":\"{:#x}\",\"access\":\"{}\",\"len\":1,\"expect\":{}",
            transaction.stream.0,
            transaction.address.0,
            if write { "w" } else { "r" },
            value(result),
        );
        if write {
            line += ",\"data\":\"00\"";
        }
        let rest: Vec<String> = legal.iter().skip(1).map(value).collect();
        if !rest.is_empty() {
            line += &format!(",\"alt\":[{}]", rest.join(","));
            self.any = true;
        }
        self.line("dma", &line);
    }

    pub(crate) fn events(&mut self, records: &[[u64; 4]]) {
        for other in &mut self.others {
            let prod = other.registers().get(Reg::EventqProd) as u32;
            let mut nobody = NoTrace;
            let mut env = watched(&mut self.ram, &mut nobody);
            let _never_refused = other.write(Reg::EventqCons.row().offset, &prod.to_le_bytes(), &mut env);
        }
        if core::mem::take(&mut self.any) {
            return self.line("events", "\"any\":true");
        }
        let rows: Vec<String> = records
            .iter()
            .map(|words| {
                let image: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                let kind = EventKind::from_number(image.first().copied().unwrap_or(0));
                let name = kind.map_or("unknown", EventKind::name);
                format!(
                    "{{\"type\":\"{name}\",\"hex\":\"{}\",\"mask\":\"{}\"}}",
                    hexadecimal(&image),
                    "ff".repeat(32)
                )
            })
            .collect();
        self.line("events", &format!("\"expect\":[{}]", rows.join(",")));
    }
}

/// Text as JSON has it.
fn text(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

fn value(answer: &Answer) -> String {
    match answer {
        Ok(pa) => format!("{{\"pa\":\"{pa:#x}\"}}"),
        Err(Some(event)) => format!("{{\"fault\":true,\"event\":\"{event}\"}}"),
        Err(None) => "{\"fault\":true,\"event\":null}".to_owned(),
    }
}

fn hexadecimal(data: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS.get(usize::from(n)).copied().unwrap_or(b'?'));
    data.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
