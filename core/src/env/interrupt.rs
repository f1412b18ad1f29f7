//! Wired interrupts: a pulse each, no level and no status (§3.18).

/// The interrupts of the Non-secure programming interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Interrupt {
    /// The event queue has become non-empty.
    Eventq,
    /// The PRI queue has become non-empty, or holds a Last request.
    Priq,
    /// A CMD_SYNC with `CS` = SIG_IRQ has completed.
    CmdSync,
    /// A global error has become active.
    Gerror,
}

/// Where interrupts go.
pub trait Interrupts {
    /// One edge on a wired interrupt. The data that it announces is visible already.
    fn pulse(&mut self, line: Interrupt);

    /// A WFE event to the PEs (`IDR0.SEV`).
    fn send_event(&mut self) {}
}

/// Nothing is wired: for polling guests and for MSIs, which are memory writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoInterrupts;

impl Interrupts for NoInterrupts {
    #[inline]
    fn pulse(&mut self, _: Interrupt) {}
}
