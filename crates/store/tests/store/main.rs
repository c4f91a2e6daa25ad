//! One suite of stories, told on SQLite and on a real PostgreSQL server.
//!
//! A story is an `async fn story(bed: Bed)`; `on_both_engines!` makes two tests of each. On a machine without
//! PostgreSQL's programs those tests print `SKIPPED: ...` on standard error.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking; clippy's exception for tests does not reach helpers of an integration test"
)]

/// Makes two tests of each story.
macro_rules! on_both_engines {
    ($($story:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story($crate::bed::Bed::sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                if let Some(bed) = $crate::bed::Bed::postgres(stringify!($story)).await {
                    super::$story(bed).await;
                }
            })+
        }
    };
}

mod access;
mod audit;
mod audit_proof;
mod backup;
mod bed;
mod clusters;
mod opening;
mod orgs;
mod postgres;
mod process;
mod recordings;
mod registry;
mod reseal;
mod sessions;
mod sign_in;
mod users;
