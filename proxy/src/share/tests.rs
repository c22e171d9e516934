//! The share of a core: sessions take turns, and an idle core delays no one.

use super::*;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn account(shares: &Arc<Shares>, id: &str) -> Arc<Account> {
    shares.account(Some(&SessionId::new(id)))
}

fn is_over(account: &Account) -> bool {
    account.over.load(Ordering::Relaxed)
}

/// `greedy` and `modest` milliseconds of each window of ten, over this many windows.
fn work(shares: &Shares, windows: u64, parts: &[(&Account, u64)]) {
    let begun = nanos(WINDOW) * (1 + shares.window_end.load(Ordering::Relaxed) / nanos(WINDOW));
    for window in 0..windows {
        for (account, milliseconds) in parts {
            shares.charge(account, ms(*milliseconds), Duration::from_nanos(begun + window * nanos(WINDOW)));
        }
    }
}

#[test]
fn a_session_alone_is_never_over() {
    let shares = Shares::new();
    let greedy = account(&shares, "greedy");
    work(&shares, 50, &[(&greedy, 10)]);
    assert!(!is_over(&greedy));
}

#[test]
fn t138_beside_a_modest_session_the_greedy_one_is_over() {
    let shares = Shares::new();
    let (greedy, modest) = (account(&shares, "greedy"), account(&shares, "modest"));
    work(&shares, 50, &[(&greedy, 8), (&modest, 1)]);
    assert_eq!((is_over(&greedy), is_over(&modest)), (true, false));
    // Its use is forgotten after a pause.
    work(&shares, 50, &[(&modest, 1)]);
    assert_eq!((is_over(&greedy), is_over(&modest)), (false, false));
}

#[test]
fn an_idle_core_delays_nothing_and_equals_are_not_over() {
    let shares = Shares::new();
    let (one, two) = (account(&shares, "one"), account(&shares, "two"));
    work(&shares, 50, &[(&one, 3), (&two, 1)]);
    assert_eq!((is_over(&one), is_over(&two)), (false, false), "four tenths of the core are in use");
    work(&shares, 50, &[(&one, 5), (&two, 5)]);
    assert_eq!((is_over(&one), is_over(&two)), (false, false));
}

#[test]
fn one_that_was_idle_does_not_wait_for_the_end_of_the_window() {
    let shares = Shares::new();
    let (greedy, modest) = (account(&shares, "greedy"), account(&shares, "modest"));
    work(&shares, 50, &[(&greedy, 10)]);
    assert!(!is_over(&greedy));
    let within = Duration::from_nanos(shares.window_end.load(Ordering::Relaxed) - 1);
    shares.charge(&modest, Duration::from_micros(9), within);
    assert!(!is_over(&greedy), "that is next to nothing");
    shares.charge(&modest, Duration::from_micros(1), within);
    assert_eq!((is_over(&greedy), is_over(&modest)), (true, false));
}

#[test]
fn one_that_was_used_a_while_ago_delays_nobody() {
    let shares = Shares::new();
    let (greedy, once) = (account(&shares, "greedy"), account(&shares, "once"));
    work(&shares, 1, &[(&once, 10)]);
    work(&shares, 60, &[(&greedy, 10)]);
    assert!(once.total() > 0 && !is_over(&greedy));
}

/// Polls once; whether the task ran.
fn poll_once(task: &mut Fair<impl Future<Output = ()>>) -> bool {
    Pin::new(task).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn t138_tasks_of_an_account_that_is_over_run_in_turn_and_the_least_used_first() {
    let shares = Shares::new();
    let (most, more) = (account(&shares, "most"), account(&shares, "more"));
    most.used.store(nanos(ms(60)), Ordering::Relaxed);
    more.used.store(nanos(ms(50)), Ordering::Relaxed);
    for account in [&most, &more] {
        account.over.store(true, Ordering::Relaxed);
    }
    let mut tasks = [&most, &more, &most, &more].map(|account| shares.fair(account.clone(), std::future::ready(())));
    let ran = |tasks: &mut [Fair<std::future::Ready<()>>; 4]| {
        tasks.each_mut().map(|task| task.turn.state.load(Ordering::Relaxed) != FREE && poll_once(task))
    };
    assert_eq!(tasks.each_mut().map(poll_once), [false; 4], "all of them are deferred");
    // A wake-up of another kind runs none of them.
    assert_eq!(ran(&mut tasks), [false; 4]);
    let mut order = Vec::new();
    for left in [true, true, true, false] {
        assert_eq!(shares.release(), left);
        order.extend(ran(&mut tasks).iter().position(|ran| *ran));
    }
    assert_eq!(order, [1, 3, 0, 2]);
    assert!(!shares.release());
}

#[test]
fn a_task_that_is_dropped_takes_no_turn() {
    let shares = Shares::new();
    let greedy = account(&shares, "greedy");
    greedy.over.store(true, Ordering::Relaxed);
    let mut tasks = [(); 3].map(|()| shares.fair(greedy.clone(), std::future::ready(())));
    assert_eq!(tasks.each_mut().map(poll_once), [false; 3]);
    let [first, second, mut third] = tasks;
    drop((first, second));
    assert!(!shares.release());
    assert!(poll_once(&mut third));
}

#[test]
fn a_connection_is_charged_to_its_session_once_that_is_known() {
    let shares = Shares::new();
    let (of, id) = (shares.clone(), SessionId::new("a"));
    let mut task = shares.of_stranger(async move { of.charge_to(&id) });
    assert!(poll_once(&mut task));
    assert!(Arc::ptr_eq(&task.account, &account(&shares, "a")));
    assert_eq!(shares.account(None).total(), 0);
    assert!(task.account.total() > 0);
}

#[test]
fn accounts_without_tasks_and_use_are_forgotten() {
    let shares = Shares::new();
    let kept = account(&shares, "kept");
    work(&shares, 1, &[(&account(&shares, "gone"), 1), (&kept, 1)]);
    lock(&shares.ledger).roll(300);
    assert_eq!(lock(&shares.ledger).accounts.len(), 1);
}

#[test]
fn a_poll_ends_with_its_slice_and_the_task_is_woken() {
    struct Flag(AtomicBool);
    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(flag.clone());
    let cx = Context::from_waker(&waker);
    assert!(pace(&cx).is_ready(), "outside of a task nothing is paced");
    BEGAN.set(Some(Instant::now() + Duration::from_secs(3600)));
    assert!((0..100).all(|_| pace(&cx).is_ready()));
    assert!(!flag.0.load(Ordering::Relaxed));
    BEGAN.set(Instant::now().checked_sub(SLICE));
    UNTIL_CLOCK.set(UNCLOCKED);
    let allowed = (0..100).take_while(|_| pace(&cx).is_ready()).count();
    assert_eq!(allowed, usize::from(UNCLOCKED));
    assert!(pace(&cx).is_pending() && flag.0.load(Ordering::Relaxed));
    BEGAN.set(None);
}

#[tokio::test]
async fn t138_a_modest_task_runs_between_any_two_of_a_greedy_session() {
    let shares = Shares::new();
    tokio::spawn(release_deferred(shares.clone()));
    let (greedy, modest) = (account(&shares, "greedy"), account(&shares, "modest"));
    // No use is forgotten, however long this takes.
    shares.window_end.store(u64::MAX, Ordering::Relaxed);
    greedy.recent.store(u64::MAX / 1_000, Ordering::Relaxed);
    greedy.over.store(true, Ordering::Relaxed);
    let order: Arc<Mutex<Vec<&str>>> = Arc::default();
    let note = |who: &'static str, times: usize| {
        let order = order.clone();
        async move {
            for _ in 0..times {
                lock(&order).push(who);
                tokio::task::yield_now().await;
            }
        }
    };
    let mut all: Vec<_> = (0..8).map(|_| tokio::spawn(shares.fair(greedy.clone(), note("greedy", 4)))).collect();
    all.push(tokio::spawn(shares.fair(modest.clone(), note("modest", 8))));
    for task in all {
        task.await.unwrap();
    }
    let order = lock(&order).clone();
    let modest = order.iter().enumerate().filter(|(_, who)| **who == "modest").map(|(at, _)| at);
    let last = modest.max().unwrap();
    // Eight steps of the modest one, and at most one of the greedy ones after each.
    assert!(last <= 16, "{order:?}");
    assert_eq!(order.len(), 40);
}
