//! The frames of one channel that its members have not all got yet, and the run under way.
//!
//! A run holds frames for all members, or frames for those who hear of others' coming and going:
//! the caller passes over the rest, and only in runs of the second kind has to look.
//!
//! Members stand in a list; a frame belongs to those below its `end`, the length of that list
//! when it was queued. A run gives the first frames, as many as fit one send, to one member after
//! the other; what is queued meanwhile waits for the next run.
//!
//! ```text
//! members   0 1 2 3 4 5 6 7 8 9 …
//!           done ─▶│cursor      │      │
//! frames    a b ────────────────┘ end  │   ╮ the run: members below get a b c,
//!           c ─────────────────────────┘   ╯          those after it only c
//! ```
//!
//! Invariant: cursor and ends cut the list into stretches. Within a stretch, members are owed the
//! same frames, so who leaves is replaced by the last of its stretch, and that one's place by the
//! last of the next, to the end: the list has no holes, and closing one never takes a pass.

use super::bounds::FanoutBounds;

/// Publications that were lost to the members below `end`.
///
/// Losses in a row are one gap. Who joined within it is told of the whole of it.
#[derive(Clone, Copy, Debug, Default)]
struct Loss {
    end: u32,
    missed: u64,
}

/// One queued frame, beside the frame itself so that frames of a run are one slice.
struct Mark {
    end: u32,
    bytes: usize,
    /// What was lost just before it. A run starts at such a frame.
    before: Loss,
    for_hearers: bool,
}

/// The run under way.
struct Run {
    id: u64,
    frame_count: usize,
    /// The first frame that the member at the cursor gets.
    start: usize,
    cursor: u32,
    before: Loss,
    for_hearers: bool,
}

/// What one member gets of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) position: u32,
    pub(super) run: u64,
    pub(super) start: usize,
    pub(super) frame_count: usize,
    pub(super) missed: u64,
    /// The frames are only for members who hear of others' coming and going.
    pub(super) for_hearers: bool,
}

impl Step {
    /// The same for a member that the frames are not for; `None` if nothing is left of it.
    pub(super) fn without_frames(self) -> Option<Self> {
        (self.missed > 0).then_some(Self { start: self.frame_count, ..self })
    }
}

pub(super) struct Backlog<F> {
    frames: Vec<F>,
    marks: Vec<Mark>,
    bytes: usize,
    /// What was lost after the last frame.
    lost: Loss,
    run: Option<Run>,
}

impl<F> Backlog<F> {
    pub(super) fn new() -> Self {
        Self { frames: Vec::new(), marks: Vec::new(), bytes: 0, lost: Loss::default(), run: None }
    }

    /// The most that one more frame is charged for besides its own bytes.
    pub(super) const OVERHEAD_BYTES_MAX: usize = size_of::<Self>() + Self::PLACE_BYTES;

    const PLACE_BYTES: usize = size_of::<F>() + size_of::<Mark>();

    /// Bytes that the queued frames are charged for: their own and what keeps them in the queue.
    pub(super) fn charged_bytes(&self) -> usize {
        match self.frames.len() {
            0 => 0,
            count => self.bytes + count * Self::PLACE_BYTES + size_of::<Self>(),
        }
    }

    pub(super) fn has_room(&self, frame_bytes: usize, bounds: &FanoutBounds) -> bool {
        self.frames.is_empty()
            || (self.frames.len() < bounds.channel_queue_frames_max
                && self.bytes.saturating_add(frame_bytes) <= bounds.channel_queue_bytes_max)
    }

    /// Queues a frame for the members below `end`, or the hearers among them.
    pub(super) fn push(&mut self, frame: F, frame_bytes: usize, end: u32, for_hearers: bool) {
        let before = std::mem::take(&mut self.lost);
        self.frames.push(frame);
        self.marks.push(Mark { end, bytes: frame_bytes, before, for_hearers });
        self.bytes += frame_bytes;
    }

    /// Notes that the members below `end` will not get `missed` publications.
    pub(super) fn lose(&mut self, missed: u64, end: u32) {
        self.lost = Loss { end, missed: self.lost.missed.saturating_add(missed) };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.lost.missed == 0 && self.run.is_none()
    }

    pub(super) fn has_run(&self) -> bool {
        self.run.is_some()
    }

    /// Starts a run of what is queued, as far as it fits one run.
    pub(super) fn start_run(&mut self, id: u64, bounds: &FanoutBounds) {
        assert!(self.run.is_none() && !self.is_empty(), "a run of nothing, or a second one");
        let before = match self.marks.first_mut() {
            Some(mark) => std::mem::take(&mut mark.before),
            None => std::mem::take(&mut self.lost),
        };
        let for_hearers = self.marks.first().is_some_and(|mark| mark.for_hearers);
        let mut run_bytes = 0;
        let frame_count = self
            .marks
            .iter()
            .take(bounds.run_frames_max)
            .take_while(|mark| {
                let fits = run_bytes == 0 || run_bytes + mark.bytes <= bounds.run_bytes_max;
                run_bytes += mark.bytes;
                fits && mark.before.missed == 0 && mark.for_hearers == for_hearers
            })
            .count();
        self.run = Some(Run { id, frame_count, start: 0, cursor: 0, before, for_hearers });
    }

    /// What the member at the cursor gets, moving the cursor on; `None` when the run is through.
    pub(super) fn step(&mut self) -> Option<Step> {
        let run = self.run.as_mut()?;
        let marks = &self.marks[..run.frame_count];
        while marks.get(run.start).is_some_and(|mark| mark.end <= run.cursor) {
            run.start += 1;
        }
        let missed = if run.cursor < run.before.end { run.before.missed } else { 0 };
        if run.start == run.frame_count && missed == 0 {
            return None;
        }
        let position = run.cursor;
        run.cursor += 1;
        let &mut Run { id, start, frame_count, for_hearers, .. } = run;
        Some(Step { position, run: id, start, frame_count, missed, for_hearers })
    }

    /// The frames of a step.
    pub(super) fn frames(&self, step: Step) -> &[F] {
        &self.frames[step.start..step.frame_count]
    }

    /// Drops the frames of the run that is through.
    pub(super) fn end_run(&mut self) {
        let run = self.run.take().expect("only a run under way ends");
        self.frames.drain(..run.frame_count);
        let ended = self.marks.drain(..run.frame_count);
        self.bytes -= ended.map(|mark| mark.bytes).sum::<usize>();
    }

    /// Fills the place of a member who left, stretch by stretch; `relocate(from, to)` moves one
    /// member. Returns the place that is free in the end, to be filled with the last of the list.
    pub(super) fn vacate(&mut self, position: u32, mut relocate: impl FnMut(u32, u32)) -> u32 {
        let mut free = position;
        let mut close = |end: &mut u32| {
            if *end > free {
                *end -= 1;
                if *end != free {
                    relocate(*end, free);
                    free = *end;
                }
            }
        };
        // Ends that the cursor has passed divide nothing any more, and are not met: they lie below
        // the place that is free once the cursor has been.
        if let Some(run) = &mut self.run {
            close(&mut run.cursor);
            close(&mut run.before.end);
        }
        for mark in &mut self.marks {
            close(&mut mark.before.end);
            close(&mut mark.end);
        }
        close(&mut self.lost.end);
        free
    }

    /// Empties it for another channel, keeping room for one full run.
    pub(super) fn reset(&mut self, bounds: &FanoutBounds) {
        self.frames.clear();
        self.frames.shrink_to(bounds.run_frames_max);
        self.marks.clear();
        self.marks.shrink_to(bounds.run_frames_max);
        self.bytes = 0;
        self.lost = Loss::default();
        self.run = None;
    }

    /// Bytes of memory behind it, without what the frames point to.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.frames.capacity() * size_of::<F>()
            + self.marks.capacity() * size_of::<Mark>()
    }
}
