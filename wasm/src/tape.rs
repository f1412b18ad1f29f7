//! A world's conversation with its device, taken down as a transcript that `replay` reads.

use crate::access::{Answer, Ats, Pending, Request};
use crate::knobs::Knobs;
use crate::ram::Ram;
use crate::script::StagAt;
use crate::text::hexadecimal;
use crate::world::{Device, watched};
use smmuv3::format::event::{EventKind, field as event};
use smmuv3::format::regs::Reg;
use smmuv3::{Behaviour, Memory, NoTrace, Pa, Settings, Smmu, Stag};

#[derive(Clone)]
pub(crate) struct Tape {
    pub(crate) lines: String,
    /// Devices of another shape and behaviour: what they answer is as legal.
    others: Vec<Other>,
    /// Answers differed since the queue was drained, so any records will do.
    any: bool,
}

#[derive(Clone)]
struct Other {
    smmu: Device,
    ram: Ram,
    pending: Pending,
}

impl Tape {
    /// A tape whose first line says what the device is.
    pub(crate) fn new(
        name: &str,
        knobs: &Knobs,
        streams: &[u32],
        ram: &[(u64, u64)],
    ) -> Result<Self, smmuv3::ConfigError> {
        let features = &knobs.features;
        let idr = |n: usize| format!("{:#x}", features.idr(n));
        let stage = match (features.s1p, features.s2p) {
            (true, true) => "nested",
            (false, true) => "2",
            _ => "1",
        };
        let registers: String = (0..6).map(|n| format!("\"IDR{n}\":\"{}\",", idr(n))).collect();
        let ranges: Vec<String> = ram
            .iter()
            .map(|(base, size)| format!("{{\"base\":\"{base:#x}\",\"size\":\"{size:#x}\"}}"))
            .collect();
        let first = format!(
            "{{\"op\":\"config\",\"version\":1.1,\"name\":{},\"category\":\"page\",\"stage\":\"{stage}\",\"idr\":{{{registers}\
             \"IIDR\":\"{:#x}\",\"AIDR\":\"{:#x}\"}},\"ram\":[{}],\
             \"sids\":{streams:?},\"source\":\"smmuv3's page\"}}",
            text(name),
            features.iidr,
            features.aidr(),
            ranges.join(","),
        );
        let mut memory = Ram::default();
        memory.limit(ram);
        let mut others = Vec::new();
        for behaviour in [Behaviour::Natural, Behaviour::Strict] {
            for walk_cache in [true, false] {
                let settings = Settings { behaviour, walk_cache, ..Settings::new(1024, 4) };
                let smmu = Smmu::new(*features, settings)?;
                others.push(Other { smmu, ram: memory.clone(), pending: Pending::default() });
            }
        }
        Ok(Self { lines: format!("{first}\n"), others, any: false })
    }

    fn line(&mut self, op: &str, rest: &str) {
        self.lines += &format!("{{\"op\":\"{op}\",{rest}}}\n");
    }

    pub(crate) fn note(&mut self, text: &str) {
        self.line("note", &format!("\"note\":{}", self::text(text)));
    }

    pub(crate) fn write(&mut self, pa: u64, data: &[u8], stag: Option<StagAt>) {
        for Other { ram, pending, .. } in &mut self.others {
            let mut data = data.to_vec();
            if let Some(at) = stag {
                at.fill(&mut data, pending);
            }
            let _outside_of_memory = ram.write(Pa(pa), &data);
        }
        let stag = stag
            .map_or_else(String::new, |StagAt { at, id }| format!(",\"stag\":{{\"at\":{at},\"id\":{id}}}"));
        self.line("write", &format!("\"pa\":\"{pa:#x}\",\"hex\":\"{}\"{stag}", hexadecimal(data)));
    }

    /// What changed between two states of memory.
    pub(crate) fn memory(&mut self, before: &Ram, after: &Ram) {
        for (pa, data) in after.changes(before) {
            self.write(pa, &data, None);
        }
    }

    pub(crate) fn register(&mut self, offset: u32, data: &[u8], value: u64) {
        for Other { smmu, ram, pending } in &mut self.others {
            // The machine's own device says whether the access is refused.
            let _the_same = smmu.write(offset, data, &mut watched(ram, &mut NoTrace));
            while smmu.pending() && smmu.poll(4096, &mut watched(ram, &mut NoTrace)) != 0 {}
            pending.resume(smmu, ram, &mut NoTrace);
        }
        self.line(
            "mmio_w",
            &format!("\"off\":\"{offset:#x}\",\"size\":{},\"val\":\"{value:#x}\"", data.len()),
        );
    }

    pub(crate) fn dma(&mut self, request: &Request, result: Answer, truth: Option<Answer>) {
        let mut legal: Vec<Answer> = truth.into_iter().filter(|truth| *truth != Answer::Stalled).collect();
        for Other { smmu, ram, pending } in &mut self.others {
            legal.push(pending.begin(smmu, ram, &mut NoTrace, request));
        }
        let mut line = format!(
            "\"sid\":{},\"ssid\":{},\"iova\":\"{:#x}\",\"access\":\"{}\",\"len\":{}",
            request.stream,
            request.substream.map_or_else(|| "null".to_owned(), |id| id.to_string()),
            request.address,
            if request.write { "w" } else { "r" },
            request.bytes,
        );
        if !request.data.is_empty() {
            line += &format!(",\"data\":\"{}\"", hexadecimal(&request.data));
        }
        for (name, set) in [("priv", request.privileged), ("inst", request.instruction)] {
            if set {
                line += &format!(",\"{name}\":true");
            }
        }
        match request.ats {
            None => {}
            Some(Ats::Request) => line += ",\"ats\":\"tr\"",
            Some(Ats::Translated) => line += ",\"ats\":\"translated\"",
        }
        if let Some(id) = request.id {
            line += &format!(",\"id\":{id}");
        }
        line += &self.legal(result, legal);
        self.line("dma", &line);
    }

    pub(crate) fn outcome(&mut self, id: u64, result: Answer) {
        let others = self.others.iter().filter_map(|other| other.pending.outcome(id)).collect();
        let rest = self.legal(result, others);
        self.line("outcome", &format!("\"id\":{id}{rest}"));
    }

    /// `expect` and `alt`.
    fn legal(&mut self, result: Answer, others: Vec<Answer>) -> String {
        let mut rest: Vec<Answer> = Vec::new();
        for other in others {
            if other != result && !rest.contains(&other) {
                rest.push(other);
            }
        }
        let mut line = format!(",\"expect\":{}", result.json());
        if !rest.is_empty() {
            let rest: Vec<String> = rest.iter().map(Answer::json).collect();
            line += &format!(",\"alt\":[{}]", rest.join(","));
            self.any = true;
        }
        line
    }

    pub(crate) fn events(&mut self, records: &[[u64; 4]], own: &Pending) {
        for Other { smmu, ram, .. } in &mut self.others {
            let prod = smmu.registers().get(Reg::EventqProd) as u32;
            let mut nobody = NoTrace;
            let _never_refused =
                smmu.write(Reg::EventqCons.row().offset, &prod.to_le_bytes(), &mut watched(ram, &mut nobody));
        }
        let differs = self.others.iter().any(|other| !other.pending.agrees(own));
        if core::mem::take(&mut self.any) || differs {
            return self.line("events", "\"any\":true");
        }
        let rows: Vec<String> = records
            .iter()
            .map(|words| {
                let image: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                let kind = EventKind::from_number(image.first().copied().unwrap_or(0));
                let name = kind.map_or("unknown", EventKind::name);
                // The name of a stalled transaction is the device's own choice.
                let stalled = event::STALL.is_set(words);
                let id = own.id(Stag(event::STAG.of(words) as u16)).filter(|_| stalled);
                format!(
                    "{{\"type\":\"{name}\",\"hex\":\"{}\",\"mask\":\"{}{}{}\"{}}}",
                    hexadecimal(&image),
                    "ff".repeat(8),
                    if stalled { "0000" } else { "ffff" },
                    "ff".repeat(22),
                    id.map_or_else(String::new, |id| format!(",\"id\":{id}")),
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
