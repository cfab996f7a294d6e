//! How a coordinator ends: connections are ended, parts recorded, proven files committed.

use crate::engine::commit_queue::ToCommit;

use super::{Coordinator, Download, Message, Reply, Summary, Woken, record};

impl Coordinator {
    /// Ends the connections, records what they have, commits what is proven.
    pub(super) async fn wind_up(mut self) -> Summary {
        self.state.is_ending = true;
        while !self.state.tasks.is_empty() || !self.state.outbox.is_empty() {
            match self.event().await {
                Woken::Message(message) => self.handle_at_the_end(*message),
                Woken::MayCommit => self.send_to_committer(),
                Woken::TaskEnded(_) | Woken::Look | Woken::Due | Woken::Cancelled => {}
            }
        }
        while let Ok(message) = self.inbox.try_recv() {
            self.handle_at_the_end(message);
        }
        let downloads = self.state.slots.0.values().filter_map(|slot| slot.download.clone());
        record(downloads.collect(), Download::retire).await;
        // Proven after the connections had ended.
        for item in std::mem::take(&mut self.state.outbox) {
            if self.commit.send(item).await.is_err() {
                break;
            }
        }
        if self.commit.send(ToCommit::End).await.is_err() {
            tracing::debug!("the committer ended too soon");
        }
        while self.committer.join_next().await.is_some() {}
        while let Ok(message) = self.inbox.try_recv() {
            self.handle_at_the_end(message);
        }
        self.show();
        self.state.summary
    }

    /// No byte is taken any more, and no file is tried again; proven files are still committed.
    fn handle_at_the_end(&mut self, message: Message) {
        match message {
            Message::Response { reply, .. } | Message::Unpacked { reply, .. } => {
                // A connection that has ended needs no reply.
                let _ = reply.send(Reply::Drop);
            }
            Message::Order(_, answer) => {
                // The run that asked may have ended.
                let _ = answer.send(0);
            }
            Message::Link { .. } | Message::LookedAt { .. } => {}
            message => self.handle(message),
        }
    }
}
