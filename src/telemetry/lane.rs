//! What became of a request in the fast lane.

use super::words::words;

words! {
    /// Why the fast lane handed a request on, or that it answered.
    Lane {
        /// A fresh hit, answered in the lane.
        Served = "served",
        /// Neither GET nor HEAD.
        Method = "method",
        /// HTTP/1.0.
        Version = "version",
        /// The target is not a path, or not one that may be asked for.
        Target = "target",
        /// The request has a body.
        Body = "body",
        /// It asks for another protocol.
        Upgrade = "upgrade",
        /// It has an `Expect`.
        Expect = "expect",
        /// Its `Connection` says more than whether it is kept.
        Connection = "connection",
        /// It wants a range.
        Range = "range",
        /// It has a precondition that only the origin can judge.
        Precondition = "precondition",
        /// It says what it wants of the cache, and the route heeds that.
        CacheControl = "cache-control",
        /// It says how long it waits.
        Deadline = "deadline",
        /// A field's name has an underscore, and may be taken for another.
        Underscore = "underscore",
        /// A trusted proxy says what the lane does not read.
        Told = "told",
        /// No route matches.
        NoRoute = "no-route",
        /// Its route has a rate limit.
        RateLimit = "rate-limit",
        /// Its client is told the key.
        Reveal = "reveal",
        /// Its route has no cache.
        CacheOff = "cache-off",
        /// Nothing that answers it is stored.
        NotStored = "not-stored",
        /// A newer response is coming in.
        Filling = "filling",
        /// The lane cannot say which variant it selects.
        Variant = "variant",
        /// Its client wants another form of what is stored than there is.
        Coding = "coding",
        /// What is stored is stale.
        Stale = "stale",
        /// The origin has since forbidden to store what it answers.
        Doubted = "doubted",
        /// Over HTTP/2: its body is so large that it may have to wait for the client.
        Large = "large",
    }
}
