//! Waiting for the first of several futures, polled in the order given.
//!
//! The order is part of the contract: when two are ready, the earlier one wins, always. A macro that picks at random
//! would draw from a source that no seed reaches. Losers are dropped; pass `&mut future` or `pin!(..).as_mut()` to keep them.

use std::future::Future;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Which of two was first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either2<A, B> {
    /// The first argument.
    First(A),
    /// The second argument.
    Second(B),
}

/// Which of three was first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either3<A, B, C> {
    /// The first argument.
    First(A),
    /// The second argument.
    Second(B),
    /// The third argument.
    Third(C),
}

/// Which of four was first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either4<A, B, C, D> {
    /// The first argument.
    First(A),
    /// The second argument.
    Second(B),
    /// The third argument.
    Third(C),
    /// The fourth argument.
    Fourth(D),
}

/// Waits for the first of two.
pub async fn select2<A: Future, B: Future>(a: A, b: B) -> Either2<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|context| {
        if let Poll::Ready(value) = a.as_mut().poll(context) {
            return Poll::Ready(Either2::First(value));
        }
        b.as_mut().poll(context).map(Either2::Second)
    })
    .await
}

/// Waits for the first of three.
pub async fn select3<A: Future, B: Future, C: Future>(a: A, b: B, c: C) -> Either3<A::Output, B::Output, C::Output> {
    let (mut a, mut b, mut c) = (pin!(a), pin!(b), pin!(c));
    poll_fn(|context| {
        if let Poll::Ready(value) = a.as_mut().poll(context) {
            return Poll::Ready(Either3::First(value));
        }
        if let Poll::Ready(value) = b.as_mut().poll(context) {
            return Poll::Ready(Either3::Second(value));
        }
        c.as_mut().poll(context).map(Either3::Third)
    })
    .await
}

/// Waits for the first of four.
pub async fn select4<A: Future, B: Future, C: Future, D: Future>(
    a: A,
    b: B,
    c: C,
    d: D,
) -> Either4<A::Output, B::Output, C::Output, D::Output> {
    let (mut a, mut b, mut c, mut d) = (pin!(a), pin!(b), pin!(c), pin!(d));
    poll_fn(|context| {
        if let Poll::Ready(value) = a.as_mut().poll(context) {
            return Poll::Ready(Either4::First(value));
        }
        if let Poll::Ready(value) = b.as_mut().poll(context) {
            return Poll::Ready(Either4::Second(value));
        }
        if let Poll::Ready(value) = c.as_mut().poll(context) {
            return Poll::Ready(Either4::Third(value));
        }
        d.as_mut().poll(context).map(Either4::Fourth)
    })
    .await
}
