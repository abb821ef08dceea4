//! The door for other nodes: what they ask (`message`), served here.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::codec;
use quorate_core::model::{GroupId, NodeId};
use quorate_core::txn::command::{AcquireLocksV1, ReleaseLocksV1};

use super::context::Coordinator;
use super::locks::Locks;
use super::message::{PassOnV1, ProcessV1, Query, RelayAgainV1, RelayV1, Response, Untold};
use super::tenure::Lost;

impl Coordinator {
    /// Serves one query of another node: a frame of kind 64 of the peer port. For a cast the answer is dropped.
    pub async fn serve(self: &Arc<Self>, from: NodeId, group: GroupId, body: Bytes) -> Result<Bytes, String> {
        // A checksum covers every frame between nodes.
        let query = codec::decode::<Query>(&body).map_err(|error| error.to_string())?;
        self.serve_query(from, group, query).await.to_bytes().map_err(|error| error.to_string())
    }

    /// As [`Coordinator::serve`], of a query that is read already.
    pub(super) async fn serve_query(self: &Arc<Self>, from: NodeId, group: GroupId, query: Query) -> Response {
        match query {
            Query::Forward(forward) => self.serve_forwarded(group, forward).await,
            Query::Acquire(acquire) => self.serve_acquire(group, acquire).await,
            Query::Release(release) => self.serve_release(group, release).await,
            Query::Audit(audit) => self.serve_audit(group, audit),
            Query::MarkRollingBack(transaction) => {
                if let Some(tenure) = self.led.tenure(group) {
                    tenure.note_rolling_back(transaction);
                }
                Response::Heard(true)
            }
            Query::Relay(request) => self.serve_relay(from, request, 0).await,
            Query::RelayAgain(RelayAgainV1 { relay, silences }) => self.serve_relay(from, relay, silences).await,
            Query::PassOn(PassOnV1 { id, branch, status }) => {
                // Not passed on a second time.
                self.asked.answered(id, branch, status);
                Response::Heard(true)
            }
            Query::Done(done) => {
                if let Some(tenure) = self.led.tenure(group) {
                    self.hear_done(&tenure, done);
                }
                Response::Heard(true)
            }
            Query::HasProcess(ProcessV1 { application, ip }) => {
                Response::Heard(self.channels.has_process(&application, ip))
            }
            Query::Announce(announcement) => Response::Heard(self.channels.learn(from, announcement)),
            Query::Console(ask) => self.serve_console(group, ask).await,
            Query::AnnouncePart(part) => Response::Heard(self.channels.learn_part(from, part)),
            Query::Operate(ask) => self.serve_operate(group, ask).await,
            Query::DeleteLock(ask) => self.serve_delete_lock(group, ask).await,
        }
    }

    async fn serve_acquire(&self, group: GroupId, acquire: AcquireLocksV1) -> Response {
        let Some(tenure) = self.led.tenure(group) else { return self.elsewhere(group) };
        match self.acquire_at(&tenure, &acquire).await {
            Ok(Locks::Acquired) => Response::Acquired,
            Ok(Locks::Refused(refused)) => Response::Refused(refused),
            Ok(Locks::Unable(why)) => Response::Unable(why),
            Err(Lost) => self.elsewhere(group),
        }
    }

    async fn serve_release(&self, group: GroupId, release: ReleaseLocksV1) -> Response {
        let Some(tenure) = self.led.tenure(group) else {
            if quorate_world::bug!("stranger_acknowledges_a_release") {
                return Response::Released;
            }
            return self.elsewhere(group);
        };
        match self.release_at(&tenure, release).await {
            Ok(()) => Response::Released,
            Err(Lost) => self.elsewhere(group),
        }
    }

    async fn serve_relay(&self, from: NodeId, request: RelayV1, silences: u32) -> Response {
        let told = match self.channels.best_here(&request.resource, &request.client, request.any_application()) {
            Some(channel) => self.ask_for_another(&channel, &request, silences).await,
            None => {
                quorate_core::sometimes!("relayed_request_found_no_channel");
                Err(Untold::NoChannel)
            }
        };
        if let Ok(status) = told {
            self.late(Some(from), request.transaction, request.branch, status);
        }
        told.map_or_else(Response::Untold, Response::Told)
    }

    pub(super) fn elsewhere(&self, group: GroupId) -> Response {
        quorate_core::sometimes!("node_was_asked_about_a_group_that_it_does_not_lead");
        Response::Elsewhere(self.led.leader(group).filter(|leader| *leader != self.node))
    }
}
