//! Workers beside servers: who does a job, who takes it over, who sweeps.

use cloakroom_testkit::servers;
use cloakroom_testkit::toxics::{Proxy, Toxic};

use crate::support::{Home, Server, Worker, get, long_term, shared, until};

async fn running_jobs(server: &Server) -> usize {
    let jobs = server.get("/admin/jobs?state=running").await;
    jobs["jobs"].as_array().expect("jobs").len()
}

#[tokio::test]
async fn a_worker_does_what_a_server_without_one_leaves() {
    let home = Home::new(shared());
    let mut server = home.serve("server", &["--no-worker"]).await;
    let id = server.upload(b"for somebody else").await;
    assert_eq!(server.state(&id).await, "confirmed");
    let mut worker = home.worker("worker").await;
    server.until_ready(&id).await;
    assert_eq!(server.download(&id).await, b"for somebody else");
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(worker.get(path).await.0, 200, "{path}");
    }
    let (status, problem) = worker.get("/api/v1/me").await;
    assert!(status == 404 && problem.contains("no API"), "{problem}");
    until("it sweeps", async || worker.leads().await).await;
    let (_, metrics) = get(&format!("{}/metrics", server.text("api_url"))).await;
    assert!(
        !metrics.contains("role=\"janitor\""),
        "a server without a worker does not sweep"
    );
    worker.process.stop();
    server.process.stop();
}

#[tokio::test]
async fn a_job_whose_worker_was_killed_is_taken_over() {
    let mut home = Home::new(shared());
    let server = home.serve("server", &["--no-worker"]).await;
    // The first worker reaches the store over a cable that is cut in the middle of the job.
    let direct = home.settings["S3_ENDPOINT"].clone();
    let (cable, through_cable) = Proxy::before(&direct).await;
    home.settings.insert("S3_ENDPOINT".to_owned(), through_cable);
    let mut doomed = home.worker("doomed").await;
    home.settings.insert("S3_ENDPOINT".to_owned(), direct);
    cable.set(Toxic::BlackHole);
    let id = server.upload(b"in the middle of it").await;
    until("the job runs", async || running_jobs(&server).await == 1).await;
    doomed.process.kill();
    let survivor = home.worker("survivor").await;
    server.until_ready(&id).await;
    assert_eq!(server.download(&id).await, b"in the middle of it");
    let timeline = server.get(&format!("/files/{id}/timeline")).await;
    let events = timeline["events"].as_array().expect("events");
    let ready = events.iter().filter(|event| event["type"] == "file.ready");
    assert_eq!(ready.count(), 1, "{timeline}");
    until("the survivor sweeps", async || survivor.leads().await).await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_gives_its_job_back() {
    let mut home = Home::new(shared());
    home.settings
        .insert("CLOAKROOM_SERVER_SHUTDOWN_GRACE".to_owned(), "2s".to_owned());
    // Nobody waits for the end of this lease.
    home.settings
        .insert("CLOAKROOM_WORKER_LEASE".to_owned(), "1h".to_owned());
    let server = home.serve("server", &["--no-worker"]).await;
    let direct = home.settings["S3_ENDPOINT"].clone();
    let (cable, through_cable) = Proxy::before(&direct).await;
    home.settings.insert("S3_ENDPOINT".to_owned(), through_cable);
    let mut first = home.worker("first").await;
    home.settings.insert("S3_ENDPOINT".to_owned(), direct);
    cable.set(Toxic::BlackHole);
    let id = server.upload(b"given back").await;
    until("the job runs", async || running_jobs(&server).await == 1).await;
    first.process.stop();
    assert_eq!(running_jobs(&server).await, 0, "given back");
    let _second = home.worker("second").await;
    server.until_ready(&id).await;
}

#[tokio::test]
async fn a_service_token_is_made_without_a_data_directory() {
    let home = Home::new(shared());
    let server = home.serve("server", &["--no-worker"]).await;
    let made = home.run(&["token", "create-service", "--name", "app"]);
    let token = String::from_utf8(made.stdout).expect("UTF-8");
    assert!(
        made.status.success() && token.starts_with("clk_"),
        "{:?}",
        made.stderr
    );
    let me = server.get_as("/me", token.trim()).await;
    assert_eq!(me["subject"], "app");
    assert!(!home.path().join("data").exists());
}

async fn who_leads<'a>(workers: &[&'a Worker]) -> Option<&'a Worker> {
    let mut leaders = Vec::new();
    for worker in workers {
        if worker.leads().await {
            leaders.push(*worker);
        }
    }
    assert!(leaders.len() <= 1, "two sweep");
    leaders.pop()
}

async fn one_sweeps_at_a_time(mut home: Home) {
    home.settings.extend(long_term());
    let mut first = home.worker("first").await;
    until("the first sweeps", async || first.leads().await).await;
    let mut second = home.worker("second").await;
    assert!(who_leads(&[&first, &second]).await.is_some());
    assert!(first.leads().await, "the first goes on");
    first.process.stop();
    until("the second takes over", async || second.leads().await).await;
    let third = home.worker("third").await;
    second.process.kill();
    until("the third takes over", async || third.leads().await).await;
    assert!(first.process.log().contains("leader_resigned"));
    assert!(third.process.log().contains("leader_elected"));
}

#[tokio::test]
async fn one_worker_sweeps_by_a_lease_in_the_database() {
    one_sweeps_at_a_time(Home::new(shared())).await;
}

#[tokio::test]
async fn one_worker_sweeps_by_a_lease_in_redis() {
    let mut home = Home::new(shared());
    home.settings.insert("REDIS_URL".to_owned(), servers::redis_url());
    one_sweeps_at_a_time(home).await;
}

#[tokio::test]
async fn without_redis_nobody_sweeps_and_jobs_are_done() {
    let mut home = Home::new(shared());
    home.settings.extend(long_term());
    let (cable, through_cable) = Proxy::before(&servers::redis_url()).await;
    home.settings.insert("REDIS_URL".to_owned(), through_cable);
    let server = home.serve("server", &["--no-worker"]).await;
    let worker = home.worker("worker").await;
    until("it sweeps", async || worker.leads().await).await;
    cable.set(Toxic::Reset);
    until("it gives up", async || !worker.leads().await).await;
    let id = server.upload(b"all the same").await;
    server.until_ready(&id).await;
    cable.set(Toxic::None);
    until("it sweeps again", async || worker.leads().await).await;
    let log = worker.process.log();
    let of_the_janitor = |line: &&str| line.contains("lease_unavailable") && line.contains("janitor");
    let complaints = log.lines().filter(of_the_janitor).count();
    assert!(
        (1..=2).contains(&complaints),
        "said once in each state, not {complaints} times"
    );
}
