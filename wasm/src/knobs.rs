//! What a reader may turn: the device, its caches, and what the guest's tables are made of.

use crate::script::{Error, number};
use smmuv3::{Behaviour, Features, Granule, Settings};

/// How the tables of a stream are made, and what the device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Knobs {
    pub(crate) features: Features,
    pub(crate) settings: Settings,
    pub(crate) granule: Granule,
    pub(crate) stages: Stages,
    pub(crate) log2_commands: u32,
    /// The script boots the device by itself.
    pub(crate) raw: bool,
}

/// Which stages a stream translates by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stages {
    One,
    Two,
    Both,
}

impl Knobs {
    pub(crate) const USUAL: Self = Self {
        features: Features::SMMUV3_2,
        settings: Settings { commands_per_write: 1, ..Settings::new(16, 8) },
        granule: Granule::Kib4,
        stages: Stages::One,
        log2_commands: 6,
        raw: false,
    };

    /// The usual ones, changed by words such as `ril=0 sets=64`.
    pub(crate) fn parse(self, text: &str) -> Result<Self, Error> {
        let mut knobs = self;
        for word in text.split_whitespace() {
            let (name, value) =
                word.split_once('=').ok_or_else(|| Error(format!("`{word}` is no knob=value")))?;
            let small = || {
                number(value)
                    .and_then(|n| u32::try_from(n).map_err(|_| Error(format!("{value} is too large"))))
            };
            match name {
                "sets" => knobs.settings.iotlb_sets = small()?,
                "ways" => knobs.settings.iotlb_ways = small()?,
                // Range invalidation is mandatory since SMMUv3.2: without it the device is one version older.
                "ril" => knobs.features = if small()? != 0 { Features::SMMUV3_2 } else { Features::SMMUV3_1 },
                "walk" => knobs.settings.walk_cache = small()? != 0,
                "strict" => {
                    knobs.settings.behaviour =
                        if small()? != 0 { Behaviour::Strict } else { Behaviour::Natural }
                }
                "granule" => knobs.granule = granule(value)?,
                "stages" => knobs.stages = stages(value)?,
                "raw" => knobs.raw = small()? != 0,
                "idr" => knobs.features = features(value)?,
                "queue" => knobs.log2_commands = small()?.clamp(1, 11),
                _ => return Err(Error(format!("there is no knob `{name}`"))),
            }
        }
        Ok(knobs)
    }

    /// The same in words that `parse` reads.
    pub(crate) fn words(&self) -> String {
        let Settings { iotlb_sets, iotlb_ways, walk_cache, behaviour, .. } = self.settings;
        let stages = match self.stages {
            Stages::One => "1",
            Stages::Two => "2",
            Stages::Both => "12",
        };
        let usual = if self.features.ril { Features::SMMUV3_2 } else { Features::SMMUV3_1 };
        let mut other = String::new();
        if self.features != usual {
            let idr = |n: usize| format!("{:#x}", self.features.idr(n));
            let id = [idr(0), idr(1), idr(2), idr(3), idr(4), idr(5)].join(",");
            other = format!(" idr={id},{:#x},{:#x}", self.features.iidr, self.features.aidr());
        }
        if self.raw {
            other += " raw=1";
        }
        format!(
            "sets={iotlb_sets} ways={iotlb_ways} ril={} walk={} strict={} granule={} stages={stages} queue={}{other}",
            u8::from(self.features.ril),
            u8::from(walk_cache),
            u8::from(behaviour == Behaviour::Strict),
            self.granule.bytes() >> 10,
            self.log2_commands,
        )
    }
}

pub(crate) fn granule(value: &str) -> Result<Granule, Error> {
    match value {
        "4" => Ok(Granule::Kib4),
        "16" => Ok(Granule::Kib16),
        "64" => Ok(Granule::Kib64),
        _ => Err(Error(format!("a granule is 4, 16 or 64 KiB, not `{value}`"))),
    }
}

pub(crate) fn stages(value: &str) -> Result<Stages, Error> {
    match value {
        "1" => Ok(Stages::One),
        "2" => Ok(Stages::Two),
        "12" => Ok(Stages::Both),
        _ => Err(Error(format!("stages are 1, 2 or 12, not `{value}`"))),
    }
}

/// The features that ID registers show: IDR0 to IDR5, IIDR and AIDR.
fn features(value: &str) -> Result<Features, Error> {
    let mut words = [0; 8];
    let mut given = value.split(',');
    for word in &mut words {
        let text = given.next().ok_or_else(|| Error("idr= has eight values".to_owned()))?;
        *word = u32::try_from(number(text)?).map_err(|_| Error(format!("{text} has more than 32 bits")))?;
    }
    let [i0, i1, i2, i3, i4, i5, iidr, aidr] = words;
    Features::from_idr([i0, i1, i2, i3, i4, i5], iidr, aidr).map_err(|error| Error(error.to_string()))
}
