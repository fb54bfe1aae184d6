use std::sync::Mutex;

use openraft::vote::RaftLeaderId as _;

use super::*;
use crate::clock::Clock;
use crate::consensus::vocabulary::LeaderId;

/// Entries of three quarters of what one piece holds, and how many were read at once.
struct Large {
    entries: u64,
    reads: Arc<Mutex<Vec<usize>>>,
}

impl Log for Large {
    fn ends(&self) -> LogEnds {
        LogEnds::default()
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(LogId, Bytes)>> {
        let bytes = Bytes::from(vec![BATCH; APPEND_BYTES_MAX / 4 * 3]);
        let most = (bytes_max / bytes.len()).max(1);
        let indexes = (from..to.min(self.entries)).take(most);
        let entry = |index| (LogId::new(LeaderId::new(1, 1), index), bytes.clone());
        let entries: Vec<_> = indexes.map(entry).collect();
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).push(entries.len());
        Ok(entries)
    }

    fn bytes_from(&self, _from: u64) -> u64 {
        0
    }

    fn save_vote(&mut self, _vote: Vote, done: Done) -> io::Result<()> {
        done.call(Ok(()));
        Ok(())
    }

    fn append(&mut self, _entries: Vec<(LogId, Bytes)>, done: Done) -> io::Result<()> {
        done.call(Ok(()));
        Ok(())
    }

    fn truncate_after(&mut self, _keep: Option<LogId>) -> io::Result<()> {
        Ok(())
    }

    fn purge(&mut self, _upto: LogId) -> io::Result<()> {
        Ok(())
    }

    fn save_committed(&mut self, _committed: LogId) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_backlog_is_applied_in_pieces_and_as_a_whole() {
    let reads = Arc::<Mutex<Vec<usize>>>::default();
    let log = Large { entries: 9, reads: Arc::clone(&reads) };
    let mut store = LogStore::new(Box::new(log), Flushes::new(Clock::start()));
    for (range, expected) in [(2..7, 2..7), (0..100, 0..9), (5..5, 5..5), (9..12, 9..9)] {
        let entries: Vec<Entry> = store.entries_stream(range).await.try_collect().await.unwrap();
        let indexes: Vec<u64> = entries.iter().map(|entry| entry.log_id.index).collect();
        assert_eq!(indexes, expected.collect::<Vec<_>>());
    }
    assert!(reads.lock().unwrap().iter().all(|read| *read <= 1), "{reads:?}");
}
