//! Saving and restoring a device as plain data.

use super::{Registers, Settings, Smmu};
use crate::arch::features::{ConfigError, Features};
use crate::device::ecmdq::Ecmdqs;
use crate::device::stall::Stalls;
use crate::format::regs::{REGISTERS, Reg};

/// The layout of [`State`] that this version writes and reads.
const VERSION: u32 = 1;

/// All that a device holds beside caches, which it may forget at any time: registers, enhanced command queues and stalled
/// transactions. With the feature `serde` it can be written out and read back; what is read is checked when a device is
/// made of it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct State {
    /// The layout of what follows.
    version: u32,
    features: Features,
    registers: Registers,
    stalls: Stalls,
    ecmdqs: Ecmdqs,
    atc_timed_out: bool,
}

impl State {
    /// The features of the device that was saved.
    #[must_use]
    pub const fn features(&self) -> &Features {
        &self.features
    }

    /// Every register with its value.
    pub fn registers(&self) -> impl Iterator<Item = (Reg, u64)> {
        REGISTERS.iter().map(|row| (row.id, self.registers.get(row.id)))
    }
}

impl<const N: usize> Smmu<N> {
    /// What the device holds now.
    #[must_use]
    pub fn state(&self) -> State {
        State {
            version: VERSION,
            features: self.features,
            registers: self.registers.clone(),
            stalls: self.stalls.clone(),
            ecmdqs: self.ecmdqs.clone(),
            atc_timed_out: self.atc_timed_out,
        }
    }

    /// A device that goes on where `state` was taken, with empty caches.
    ///
    /// # Errors
    /// [`ConfigError`] if the state's layout is another one, or as [`Smmu::new`].
    pub fn from_state(state: &State, settings: Settings) -> Result<Self, ConfigError> {
        if state.version != VERSION {
            return Err(ConfigError::inconsistent("state", "another version's layout"));
        }
        let mut smmu = Self::new(state.features, settings)?;
        smmu.registers = state.registers.restored(&state.features);
        smmu.stalls = state.stalls.clone();
        smmu.ecmdqs = state.ecmdqs.clone();
        smmu.atc_timed_out = state.atc_timed_out;
        Ok(smmu)
    }
}
