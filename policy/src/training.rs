//! The training of a virtual host's behavioural model: its states and how they follow.
//!
//! ```text
//!            start                report 100 %
//! idle ──────────────► training ──────────────► complete
//!                      ▲   │ stop                   │
//!                start │   ▼                        │ start
//!                     stopped            training ◄─┘
//! ```
//!
//! Invariants: progress is 0 to 100 and never falls within one training; only a running
//! training has progress reported; what is asked for again changes nothing.

use std::fmt;
use std::str::FromStr;

use crate::Invalid;
use crate::limits::TRAINING_DAYS;

/// Days of a training that nobody set.
const DAYS: u32 = 4;
/// Progress at which a training is complete.
const COMPLETE: u8 = 100;

/// Where a training is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum TrainingState {
    /// Never begun.
    #[default]
    Idle,
    /// Requests are collected.
    Training,
    /// Enough was collected; the model is built or will be.
    Complete,
    /// Ended before it was complete.
    Stopped,
}

/// The training of one virtual host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Training {
    /// Where it is.
    pub state: TrainingState,
    /// How long requests are collected, in days, [`TRAINING_DAYS`].
    pub duration_days: u32,
    /// When it was begun last, Unix milliseconds by the clock of the API.
    pub started_ms: Option<i64>,
    /// Per cent.
    pub progress: u8,
    /// Requests that were collected.
    pub samples: u64,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            state: TrainingState::Idle,
            duration_days: DAYS,
            started_ms: None,
            progress: 0,
            samples: 0,
        }
    }
}

impl TrainingState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Training, Self::Complete, Self::Stopped];

    /// The word users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Training => "training",
            Self::Complete => "complete",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for TrainingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TrainingState {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let remedy = "write idle, training, complete or stopped";
            Invalid::new("state", text, "there is no such state", remedy)
        })
    }
}

/// What an operator asks of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrainingOrder {
    /// Collect for so many days.
    pub duration_days: Option<u32>,
    /// `Some(false)` begins, or begins anew what has ended; `Some(true)` stops.
    pub complete: Option<bool>,
}

impl TrainingOrder {
    /// Checks the range of the duration.
    ///
    /// # Errors
    /// A duration beyond [`TRAINING_DAYS`].
    pub fn new(duration_days: Option<u64>, complete: Option<bool>) -> Result<Self, Invalid> {
        let days = |days: u64| {
            let fits = u32::try_from(days).ok().filter(|days| TRAINING_DAYS.contains(days));
            fits.ok_or_else(|| {
                let (least, most) = (TRAINING_DAYS.start(), TRAINING_DAYS.end());
                let reason = format!("a training takes {least} to {most} days");
                let remedy = format!("give a number of {least}-{most}");
                Invalid::new("duration", &days.to_string(), reason, remedy)
            })
        };
        Ok(Self { duration_days: duration_days.map(days).transpose()?, complete })
    }
}

/// Why a report of progress changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReportRefused {
    /// No training is running.
    #[error("the training is {0}, so there is no progress to report")]
    NotTraining(TrainingState),
    /// More than all.
    #[error("progress is 0 to 100 per cent")]
    Progress,
    /// Less than was reported before.
    #[error("progress does not fall within one training: {0} per cent were reported before")]
    Falls(u8),
}

impl Training {
    /// The training after an order. One that is running is not begun anew; only what runs
    /// can be stopped, and to stop anything else changes nothing.
    #[must_use]
    pub fn ordered(self, order: TrainingOrder, now_ms: i64) -> Self {
        let mut next = self;
        next.duration_days = order.duration_days.unwrap_or(self.duration_days);
        match (order.complete, self.state) {
            (
                Some(false),
                TrainingState::Idle | TrainingState::Complete | TrainingState::Stopped,
            ) => Self {
                state: TrainingState::Training,
                duration_days: next.duration_days,
                started_ms: Some(now_ms),
                progress: 0,
                samples: 0,
            },
            (Some(true), TrainingState::Training) => Self { state: TrainingState::Stopped, ..next },
            (Some(false), TrainingState::Training)
            | (
                Some(true),
                TrainingState::Idle | TrainingState::Complete | TrainingState::Stopped,
            )
            | (None, _) => next,
        }
    }

    /// The training after a report; 100 per cent complete it.
    ///
    /// # Errors
    /// See [`ReportRefused`].
    pub fn reported(self, progress: u8, samples: u64) -> Result<Self, ReportRefused> {
        if self.state != TrainingState::Training {
            return Err(ReportRefused::NotTraining(self.state));
        }
        if progress > COMPLETE {
            return Err(ReportRefused::Progress);
        }
        if progress < self.progress {
            return Err(ReportRefused::Falls(self.progress));
        }
        let state =
            if progress == COMPLETE { TrainingState::Complete } else { TrainingState::Training };
        Ok(Self { state, progress, samples, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: TrainingOrder = TrainingOrder { duration_days: None, complete: Some(false) };
    const STOP: TrainingOrder = TrainingOrder { duration_days: None, complete: Some(true) };

    #[test]
    fn a_training_runs_its_course() {
        let idle = Training::default();
        assert_eq!((idle.state, idle.duration_days), (TrainingState::Idle, 4));
        assert_eq!(idle.ordered(STOP, 5), idle);
        let running = idle.ordered(BEGIN, 5);
        assert_eq!((running.state, running.started_ms), (TrainingState::Training, Some(5)));
        let half = running.reported(50, 1_000).unwrap();
        assert_eq!(half.ordered(BEGIN, 9), half, "a running one is not begun anew");
        assert_eq!(half.reported(49, 1_001), Err(ReportRefused::Falls(50)));
        assert_eq!(half.reported(101, 1_001), Err(ReportRefused::Progress));
        let complete = half.reported(100, 2_000).unwrap();
        assert_eq!((complete.state, complete.samples), (TrainingState::Complete, 2_000));
        assert_eq!(complete.ordered(STOP, 9), complete);
        let again = complete.ordered(BEGIN, 9);
        assert_eq!((again.state, again.progress, again.started_ms), (running.state, 0, Some(9)));
        let stopped = half.ordered(STOP, 9);
        assert_eq!((stopped.state, stopped.progress), (TrainingState::Stopped, 50));
        assert_eq!(stopped.ordered(BEGIN, 11).progress, 0);
    }

    #[test]
    fn only_what_runs_reports() {
        for state in [TrainingState::Idle, TrainingState::Complete, TrainingState::Stopped] {
            let training = Training { state, ..Training::default() };
            assert_eq!(training.reported(1, 1), Err(ReportRefused::NotTraining(state)));
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("done".parse::<TrainingState>().is_err());
    }

    #[test]
    fn a_duration_has_a_range() {
        for (days, fits) in [(0, false), (1, true), (365, true), (366, false), (u64::MAX, false)] {
            assert_eq!(TrainingOrder::new(Some(days), None).is_ok(), fits, "{days}");
        }
        let order = TrainingOrder::new(Some(7), None).unwrap();
        let training = Training::default().ordered(order, 1);
        assert_eq!((training.duration_days, training.state), (7, TrainingState::Idle));
    }
}
