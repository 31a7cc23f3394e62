//! The places of waiting jobs, in the order in which workers will take them.
//!
//! Tenants take turns, so a job's place follows from all waiting and running jobs. [`Places::of`] plays the claims through: a worker
//! becomes free when the running job ends that is predicted to end first, and takes the next job by the rules of
//! [`sql::turns!`](super::sql). This costs time in proportion to the queue, so [`PlaceCache`] plays it once for all who ask at the same
//! time, and a long queue again only when a multiple of that time has passed. What one request then costs does not grow with the queue.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeSet, BinaryHeap, HashMap},
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Job, JobId, JobState, QueueError, TenantOptions,
    row::{self, Columns},
};
use crate::clock::Timestamp;

/// Up to this number of waiting jobs, every answer is of its own moment.
const SHORT_QUEUE: usize = 1000;

/// How old the places in a longer queue may be, at least, and as a multiple of the time that they took.
const LEAST_AGE: Duration = Duration::from_secs(1);
const AGE_PER_COST: u32 = 20;

/// Minutes of waiting that a point of priority is worth, in milliseconds: see `rank` in `migrations/`.
const RANK_PER_PRIORITY: i64 = 60_000;

/// A job that waits; by tenant, and of each tenant by rank and id.
pub(super) struct WaitingJob {
    tenant: String,
    rank: i64,
    id: JobId,
    /// Predicted seconds.
    seconds: f64,
}

/// A job at work.
pub(super) struct RunningJob {
    tenant: String,
    /// Predicted seconds until its end.
    left: f64,
}

/// What the places follow from, as read from the store.
pub(super) struct Queue {
    pub waiting: Vec<WaitingJob>,
    pub running: Vec<RunningJob>,
    /// When each tenant was last served: larger is later.
    pub served: HashMap<String, i64>,
}

impl Queue {
    /// Reads rows of [`sql::WAITING_JOBS`](super::sql::WAITING_JOBS), [`sql::RUNNING_JOBS`](super::sql::RUNNING_JOBS) and
    /// [`sql::SERVED_TENANTS`](super::sql::SERVED_TENANTS).
    pub fn read<R: Columns>(waiting: &[R], running: &[R], served: &[R]) -> Result<Self, QueueError> {
        let tenant = |row: &R| Ok::<_, QueueError>(row.text("tenant")?.unwrap_or_default().to_owned());
        let waiting = waiting.iter().map(|row| {
            let (rank, seconds) = (row.integer("rank")?.unwrap_or_default(), row.real("seconds")?);
            Ok(WaitingJob {
                tenant: tenant(row)?,
                rank,
                id: row::job_id(row)?,
                seconds: seconds.unwrap_or_default(),
            })
        });
        let running = running.iter().map(|row| {
            Ok(RunningJob { tenant: tenant(row)?, left: row.real("seconds")?.unwrap_or_default() })
        });
        let served = served.iter().map(|row| Ok((tenant(row)?, row.integer("served")?.unwrap_or_default())));
        Ok(Self {
            waiting: waiting.collect::<Result<_, QueueError>>()?,
            running: running.collect::<Result<_, QueueError>>()?,
            served: served.collect::<Result<_, QueueError>>()?,
        })
    }
}

/// A job's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Position among all waiting jobs, starting at 1.
    pub position: u64,
    /// Predicted seconds of the jobs before it, minus what the running ones have already done.
    pub seconds_ahead: f64,
}

/// The places of all waiting jobs.
#[derive(Debug, Default)]
pub(super) struct Places {
    by_job: HashMap<JobId, Place>,
    /// The waiting jobs of each tenant, in their order.
    by_tenant: HashMap<String, Vec<(i64, JobId)>>,
    /// Behind all of them.
    end: Option<Place>,
}

/// A tenant with waiting jobs, while the claims are played through.
struct Claimant<'a> {
    jobs: &'a [WaitingJob],
    busy: u32,
    weight: f64,
    served: i64,
}

/// Whose turn is first: the least load, then who was served longest ago, then the rank of the first job, then the name, in whose
/// order the claimants are numbered. Loads are not negative, so their bits are in their order.
type Turn = (u64, i64, i64, usize);

impl Claimant<'_> {
    fn turn(&self, number: usize, most: Option<u32>) -> Option<Turn> {
        let first = self.jobs.first().filter(|_| most.is_none_or(|most| self.busy < most))?;
        Some(((f64::from(self.busy) / self.weight).to_bits(), self.served, first.rank, number))
    }
}

/// The end of a job at work: its time, how many began before it, and whose it is where that tenant has waiting jobs.
#[derive(PartialEq)]
struct End(f64, usize, Option<usize>);

impl Eq for End {}

impl PartialOrd for End {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for End {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

impl Places {
    /// Plays the claims through. All workers are taken to be at work, as they are while jobs wait; where none is, there is one.
    pub fn of(queue: &Queue, options: &TenantOptions) -> Self {
        let chunks: Vec<&[WaitingJob]> =
            queue.waiting.chunk_by(|one, other| one.tenant == other.tenant).collect();
        let numbers: HashMap<&str, usize> = chunks
            .iter()
            .enumerate()
            .filter_map(|(number, jobs)| Some((&*jobs.first()?.tenant, number)))
            .collect();
        let mut claimants: Vec<Claimant> = chunks
            .iter()
            .map(|jobs| {
                let tenant = jobs.first().map_or("", |job| &job.tenant);
                let weight = options.weights.get(tenant).copied().unwrap_or(1);
                let served = queue.served.get(tenant).copied().unwrap_or_default();
                Claimant { jobs, busy: 0, weight: f64::from(weight), served }
            })
            .collect();
        let mut ends = BinaryHeap::with_capacity(queue.running.len().max(1));
        let mut ahead = 0.0;
        for running in &queue.running {
            let number = numbers.get(&*running.tenant).copied();
            if let Some(claimant) = number.and_then(|number| claimants.get_mut(number)) {
                claimant.busy += 1;
            }
            ahead += running.left;
            ends.push(Reverse(End(running.left, ends.len(), number)));
        }
        let (workers, most) = (queue.running.len().max(1), options.running);
        let mut last_served = queue.served.values().copied().max().unwrap_or_default();
        let turns = claimants.iter().enumerate().filter_map(|(number, claimant)| claimant.turn(number, most));
        let mut turns: BTreeSet<Turn> = turns.collect();
        let (mut by_job, mut position, mut now) = (HashMap::with_capacity(queue.waiting.len()), 0, 0.0);
        loop {
            if ends.len() < workers
                && let Some((_, _, _, number)) = turns.pop_first()
                && let Some(claimant) = claimants.get_mut(number)
                && let Some((job, rest)) = claimant.jobs.split_first()
            {
                position += 1;
                last_served += 1;
                by_job.insert(job.id, Place { position, seconds_ahead: ahead });
                ahead += job.seconds;
                ends.push(Reverse(End(now + job.seconds, workers + by_job.len(), Some(number))));
                (claimant.jobs, claimant.busy, claimant.served) = (rest, claimant.busy + 1, last_served);
                turns.extend(claimant.turn(number, most));
                continue;
            }
            // Every worker is busy, or every tenant that waits has as many at work as it may have.
            let Some(Reverse(End(time, _, number))) =
                ends.pop().filter(|_| position < queue.waiting.len() as u64)
            else {
                break;
            };
            now = time;
            if let Some(number) = number
                && let Some(claimant) = claimants.get_mut(number)
            {
                if let Some(turn) = claimant.turn(number, most) {
                    turns.remove(&turn);
                }
                claimant.busy = claimant.busy.saturating_sub(1);
                turns.extend(claimant.turn(number, most));
            }
        }
        let by_tenant = chunks.iter().filter_map(|jobs| {
            let order = jobs.iter().map(|job| (job.rank, job.id)).collect();
            Some((jobs.first()?.tenant.clone(), order))
        });
        let end = Place { position: position + 1, seconds_ahead: ahead };
        Self { by_job, by_tenant: by_tenant.collect(), end: Some(end) }
    }

    /// The place of a waiting job; an estimate for one that came after the places were found.
    pub fn find(&self, job: &Job) -> Place {
        let found = self.by_job.get(&job.id).copied();
        found.unwrap_or_else(|| {
            self.newcomer(job.tenant.as_str(), (rank(job.created_at, job.priority), job.id))
        })
    }

    /// The place of a tenant's next job, if it came now.
    pub fn next(&self, tenant: &str, now: Timestamp, priority: i8) -> Place {
        self.newcomer(tenant, (rank(now, priority), JobId::new()))
    }

    /// Estimates the place of a job that is not among those whose places are known. It takes that of the tenant's job which it stands
    /// before. Behind all of them it is as far from the last as that is from the one before it.
    fn newcomer(&self, tenant: &str, order: (i64, JobId)) -> Place {
        let end = self.end.unwrap_or(Place { position: 1, seconds_ahead: 0.0 });
        let known = self.by_tenant.get(tenant).map(Vec::as_slice).unwrap_or_default();
        let (before, behind) = known.split_at(known.partition_point(|known| *known < order));
        let place = |(_, id): &(i64, JobId)| self.by_job.get(id).copied();
        if let Some(next) = behind.first().and_then(place) {
            return next;
        }
        let mut last = before.iter().rev().filter_map(place);
        let Some(last_place) = last.next() else {
            // It is served next, or nearly: it was not served while the others were.
            return Place { position: 1, seconds_ahead: self.first_seconds() };
        };
        let distance =
            last.next().map_or(self.by_tenant.len() as u64, |other| last_place.position - other.position);
        let position = (last_place.position + distance).min(end.position);
        let share =
            (position - last_place.position) as f64 / (end.position - last_place.position).max(1) as f64;
        let seconds_ahead = last_place.seconds_ahead + share * (end.seconds_ahead - last_place.seconds_ahead);
        Place { position, seconds_ahead }
    }

    /// Predicted seconds ahead of the first job.
    fn first_seconds(&self) -> f64 {
        let ahead = self.by_job.values().chain(&self.end).map(|place| place.seconds_ahead);
        ahead.min_by(f64::total_cmp).unwrap_or_default()
    }

    fn is_long(&self) -> bool {
        self.by_job.len() > SHORT_QUEUE
    }

    /// Fills in the places of those jobs that wait.
    pub fn fill<'a>(&self, jobs: impl IntoIterator<Item = &'a mut Job>) {
        for job in jobs.into_iter().filter(|job| job.state == JobState::Queued) {
            let Place { position, seconds_ahead } = self.find(job);
            (job.queue_position, job.seconds_ahead) = (Some(position), Some(seconds_ahead));
        }
    }
}

/// Fills in the places of those jobs that wait; they are found only if one does.
pub async fn fill(
    jobs: &mut [Job],
    places: impl Future<Output = Result<Arc<Places>, QueueError>>,
) -> Result<(), QueueError> {
    if jobs.iter().any(|job| job.state == JobState::Queued) {
        places.await?.fill(jobs);
    }
    Ok(())
}

/// A job's place in the order of its tenant: the column `rank`.
fn rank(created_at: Timestamp, priority: i8) -> i64 {
    created_at.as_millis() - RANK_PER_PRIORITY * i64::from(priority)
}

/// The newest places.
#[derive(Debug, Default)]
pub(super) struct PlaceCache {
    newest: Mutex<Option<Found>>,
    /// Held while new ones are found.
    finding: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Found {
    places: Arc<Places>,
    /// When the reading of them began.
    began: Instant,
    /// How long it took.
    took: Duration,
}

impl Found {
    /// Whether it answers a question that was asked at this time.
    fn serves(&self, asked: Instant) -> bool {
        let age = asked.saturating_duration_since(self.began);
        self.began >= asked || (self.places.is_long() && age < LEAST_AGE.max(self.took * AGE_PER_COST))
    }
}

impl PlaceCache {
    /// Returns the places: those that were found after this call began, or of a long queue a moment before. While those of a long queue
    /// are found anew, the others who ask get the last ones.
    pub async fn get<F>(
        &self,
        options: &TenantOptions,
        read: impl FnOnce() -> F,
    ) -> Result<Arc<Places>, QueueError>
    where
        F: Future<Output = Result<Queue, QueueError>>,
    {
        let asked = Instant::now();
        let known = self.newest();
        if let Some(found) = known.as_ref().filter(|found| found.serves(asked)) {
            return Ok(Arc::clone(&found.places));
        }
        let _finding = match (self.finding.try_lock(), known) {
            (Ok(finding), _) => finding,
            (Err(_), Some(found)) if found.places.is_long() => return Ok(found.places),
            (Err(_), _) => self.finding.lock().await,
        };
        if let Some(found) = self.newest().filter(|found| found.serves(asked)) {
            return Ok(found.places);
        }
        let began = Instant::now();
        let queue = read().await?;
        let places = if queue.waiting.len() > SHORT_QUEUE {
            let options = options.clone();
            let playing = tokio::task::spawn_blocking(move || Places::of(&queue, &options));
            playing.await.map_err(|cut| sqlx::Error::Io(std::io::Error::other(cut)))?
        } else {
            Places::of(&queue, options)
        };
        let places = Arc::new(places);
        let found = Found { places: Arc::clone(&places), began, took: began.elapsed() };
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(places)
    }

    /// No code panics while it holds the lock.
    fn newest(&self) -> Option<Found> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn waiting(tenants: &[(&str, usize)]) -> Vec<WaitingJob> {
        let of = |&(tenant, jobs): &(&str, usize)| {
            let tenant = tenant.to_owned();
            (0..jobs).map(move |rank| WaitingJob {
                tenant: tenant.clone(),
                rank: rank as i64,
                id: JobId::new(),
                seconds: 10.0,
            })
        };
        tenants.iter().flat_map(of).collect()
    }

    /// The tenants in the order of their jobs.
    fn order(queue: &Queue, options: &TenantOptions) -> String {
        let places = Places::of(queue, options);
        let mut order: Vec<(u64, &str)> =
            queue.waiting.iter().map(|job| (places.by_job[&job.id].position, &*job.tenant)).collect();
        order.sort_unstable();
        assert!(order.iter().map(|(position, _)| *position).eq(1..=order.len() as u64));
        order.into_iter().map(|(_, tenant)| tenant).collect()
    }

    fn queue(tenants: &[(&str, usize)], running: &[&str]) -> Queue {
        let running =
            running.iter().map(|tenant| RunningJob { tenant: (*tenant).to_owned(), left: 10.0 }).collect();
        Queue { waiting: waiting(tenants), running, served: HashMap::new() }
    }

    #[test]
    fn tenants_take_turns_at_one_worker() {
        let options = TenantOptions::default();
        assert_eq!(order(&queue(&[("a", 4), ("b", 2)], &[]), &options), "ababaa");
        // Who was served last waits, and so does who is at work.
        let mut served = queue(&[("a", 2), ("b", 2)], &[]);
        served.served = HashMap::from([("a".to_owned(), 5), ("b".to_owned(), 3)]);
        assert_eq!(order(&served, &options), "baba");
        assert_eq!(order(&queue(&[("a", 2), ("b", 2)], &["a"]), &options), "abab");
    }

    #[test]
    fn weights_share_several_workers() {
        let weights = BTreeMap::from([("b".parse().unwrap(), 3)]);
        let options = TenantOptions { weights, ..TenantOptions::default() };
        let shared = order(&queue(&[("a", 4), ("b", 12)], &["a", "b", "b", "b"]), &options);
        assert_eq!(shared.matches('a').count(), 4);
        for part in shared.as_bytes().chunks(4) {
            assert_eq!(part.iter().filter(|tenant| **tenant == b'a').count(), 1, "{shared}");
        }
    }

    #[test]
    fn a_tenant_at_its_bound_lets_others_pass() {
        let options = TenantOptions { running: Some(1), ..TenantOptions::default() };
        assert_eq!(order(&queue(&[("a", 3), ("b", 1)], &["a", "x"]), &options).len(), 4);
        // Alone it has the places one after the other.
        assert_eq!(order(&queue(&[("a", 3)], &["a"]), &options), "aaa");
    }

    #[test]
    fn a_newcomer_is_placed_by_those_of_its_tenant() {
        let next = |places: &Places, tenant| places.next(tenant, Timestamp::from_millis(1000), 0);
        let places = Places::of(&queue(&[("a", 2), ("b", 2)], &["x"]), &TenantOptions::default());
        assert_eq!(next(&places, "a"), Place { position: 5, seconds_ahead: 50.0 });
        assert_eq!(next(&places, "b"), Place { position: 5, seconds_ahead: 50.0 });
        assert_eq!(next(&places, "c"), Place { position: 1, seconds_ahead: 10.0 });
        // Before those of its tenant, with a priority.
        let first = places.next("a", Timestamp::from_millis(1000), 5);
        assert_eq!(first, Place { position: 1, seconds_ahead: 10.0 });
        let nothing = Places::of(&queue(&[], &["x"]), &TenantOptions::default());
        assert_eq!(next(&nothing, "a"), Place { position: 1, seconds_ahead: 10.0 });
    }

    #[tokio::test]
    async fn a_long_queue_is_read_once_for_many() {
        let (cache, options) = (PlaceCache::default(), TenantOptions::default());
        let mut reads = 0;
        for jobs in [2, 2, SHORT_QUEUE + 1, 1, 1] {
            let read = || {
                reads += 1;
                std::future::ready(Ok(queue(&[("a", jobs)], &[])))
            };
            cache.get(&options, read).await.unwrap();
        }
        assert_eq!(reads, 3);
    }
}
