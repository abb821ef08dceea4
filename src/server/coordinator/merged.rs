//! Merged frames: several requests that came together, and which of the three forms of answer each client gets (protocol,
//! section 5.4).
//!
//! Not here: what one request is answered (`receive`), room for those of a frame (`in_hand`).

use std::sync::Arc;

use quorate_core::model::limits;
use quorate_core::wire::{Head, Message};
use quorate_world::sync::mpsc;
use quorate_world::task::{self, JoinHandle};
use quorate_world::time::{Duration, timeout};

use super::ask::Failure;
use super::channel::{Channel, Identity};
use super::context::Coordinator;
use super::in_hand::{self, Held, InHand};
use super::reply::Question;
use super::request;

/// What a failure says that is none for certain.
pub const UNKNOWN_WHETHER_DONE: &str = "not answered in time: it is not known whether it was done";

impl Coordinator {
    /// Clients from 2.3 on get an answer for each child, as soon as there is one. All others, and whoever asks for a
    /// status (Java's RM cannot read a single status result), get one answer with all of them, in order: one that is late
    /// holds up the others, and fails without them where that says no more than silence would ([`Coordinator::too_late`]).
    /// Where an operator wants it, clients from 1.5 on get them in batches, as they are ready.
    pub(super) fn merged(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        head: Head,
        messages: Vec<Message>,
        ids: Option<Vec<i32>>,
        mut in_hand: InHand,
    ) {
        if messages.is_empty() || messages.len() > limits::MERGED_REQUESTS_MAX {
            return self.counters.rejected.one();
        }
        if messages.len() > 1 {
            quorate_core::sometimes!("requests_come_together");
        }
        let identity = channel.identity();
        let singly = identity.as_ref().is_some_and(|identity| takes_singly(identity, &messages));
        let in_batches = self.batch_results && identity.is_some_and(|identity| identity.version.takes_batch_results());
        match ids.filter(|_| singly || in_batches) {
            Some(mut ids) if !singly => {
                if quorate_world::bug!("batch_child_has_anothers_id") {
                    ids.reverse();
                }
                self.merged_in_batches(channel, head, messages.into_iter().zip(ids), in_hand);
            }
            Some(ids) => {
                for (message, id) in messages.into_iter().zip(ids) {
                    let Some(question) = request::question(&message) else { continue };
                    let Some(part) = in_hand.split(in_hand::weight_bytes(&message)) else { continue };
                    self.single(channel, head.alike(head.kind, id), question, message, part);
                }
            }
            None => self.merged_together(channel, head, messages, in_hand),
        }
    }

    fn merged_in_batches(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        head: Head,
        messages: impl Iterator<Item = (Message, i32)>,
        mut in_hand: InHand,
    ) {
        let (done, mut answers) = mpsc::unbounded_channel();
        for (message, id) in messages {
            let (coordinator, channel, done) = (self.clone(), channel.clone(), done.clone());
            let held = Held::new(in_hand.split(in_hand::weight_bytes(&message)), &channel.unanswered);
            task::spawn(async move {
                let Some(question) = request::question(&message) else { return };
                if let Some(answer) = coordinator.serve_request(&channel, question, message, &held).await {
                    // The frame is answered until the last of its requests is gone.
                    _ = done.send((answer, id, held));
                }
            });
        }
        drop(done);
        let channel = channel.clone();
        task::spawn(async move {
            while let Some(first) = answers.recv().await {
                let (mut messages, mut ids, mut all_held) = (Vec::new(), Vec::new(), Vec::new());
                let mut next = Some(first);
                while let Some((message, id, held)) = next {
                    messages.push(message);
                    ids.push(id);
                    if ids.len() > 1 {
                        quorate_core::sometimes!("answers_share_a_batch");
                    }
                    all_held.push(held);
                    next = answers.try_recv().ok();
                }
                channel.answer(&head, &Message::BatchResult { messages, ids });
            }
        });
    }

    fn merged_together(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        head: Head,
        messages: Vec<Message>,
        mut in_hand: InHand,
    ) {
        let children: Vec<JoinHandle<Option<(Message, Held)>>> = messages
            .into_iter()
            .map(|message| {
                let (coordinator, channel) = (self.clone(), channel.clone());
                let held = Held::new(in_hand.split(in_hand::weight_bytes(&message)), &channel.unanswered);
                task::spawn(async move {
                    let question = request::question(&message)?;
                    let served = coordinator.serve_request(&channel, question, message, &held);
                    let served = match quorate_world::bug!("late_child_is_refused") {
                        true => timeout(Duration::from_millis(50), served).await.unwrap_or_default(),
                        false => served.await,
                    };
                    let answer = match served {
                        Some(answer) => answer,
                        None => coordinator.too_late(&channel, question)?,
                    };
                    held.keep_answer();
                    Some((answer, held))
                })
            })
            .collect();
        let channel = channel.clone();
        task::spawn(async move {
            let mut answers = Vec::with_capacity(children.len());
            for child in children {
                // Clients find answers by position: one that is missing makes all of them useless.
                let Ok(Some(answer)) = child.await else {
                    quorate_core::sometimes!("late_request_takes_its_frame_along");
                    return;
                };
                answers.push(answer);
            }
            if quorate_world::bug!("merged_answers_turned") {
                answers.reverse();
            }
            let (messages, _held): (Vec<Message>, Vec<Held>) = answers.into_iter().unzip();
            channel.answer(&head, &Message::MergeResult { messages });
        });
    }

    /// Instead of a silence that would take the other answers of its frame with it. A branch may have been registered and be
    /// of no use, as after a client's own time-out. Of a decision nothing is said that may turn out wrong.
    fn too_late(&self, channel: &Channel, question: Question) -> Option<Message> {
        match question {
            Question::Begin | Question::Register | Question::ReportBranch | Question::LockQuery => {}
            Question::Commit | Question::Rollback | Question::Status | Question::Report => return None,
        }
        let identity = channel.identity()?;
        quorate_core::sometimes!("late_request_fails_for_the_sake_of_its_frame");
        let text = if quorate_world::bug!("late_child_is_refused") { "it took too long" } else { UNKNOWN_WHETHER_DONE };
        let failure = Failure::new(request::refusal_code(question), text.to_owned());
        Some(self.answer_with(channel, &identity, question, None, failure.into()))
    }
}

/// Whether the children of a merged frame are answered one by one.
pub(super) fn takes_singly(identity: &Identity, messages: &[Message]) -> bool {
    let asks_for_status = |message: &Message| matches!(message, Message::GlobalStatus { .. });
    identity.version.takes_single_results() && !messages.iter().any(asks_for_status)
}
