//! The label values a request is counted under.
//!
//! Each set is closed. A label taken from the request as it came (the method's text, the status's number) would let
//! a client create time series at will.

use super::words::words;

words! {
    /// A request's method; what is not listed is `other`.
    Method {
        /// `GET`
        Get = "GET",
        /// `HEAD`
        Head = "HEAD",
        /// `POST`
        Post = "POST",
        /// `PUT`
        Put = "PUT",
        /// `DELETE`
        Delete = "DELETE",
        /// `PATCH`
        Patch = "PATCH",
        /// `OPTIONS`
        Options = "OPTIONS",
        /// Any other.
        Other = "other",
    }
}

impl Method {
    /// The method of that name; names are case-sensitive (RFC 9110 §9.1).
    pub fn of(name: &str) -> Method {
        Method::ALL.iter().copied().find(|m| m.as_str() == name).unwrap_or(Method::Other)
    }
}

impl From<&http::Method> for Method {
    fn from(method: &http::Method) -> Method {
        Method::of(method.as_str())
    }
}

words! {
    /// The class of the status the client got.
    StatusClass {
        /// 100 to 199
        Informational = "1xx",
        /// 200 to 299
        Successful = "2xx",
        /// 300 to 399
        Redirection = "3xx",
        /// 400 to 499
        ClientError = "4xx",
        /// 500 to 599
        ServerError = "5xx",
        /// No response was begun, or its status has no class.
        None = "none",
    }
}

impl StatusClass {
    /// The class of a status; 0 stands for no response.
    pub const fn of(status: u16) -> StatusClass {
        match status / 100 {
            1 => StatusClass::Informational,
            2 => StatusClass::Successful,
            3 => StatusClass::Redirection,
            4 => StatusClass::ClientError,
            5 => StatusClass::ServerError,
            _ => StatusClass::None,
        }
    }
}

words! {
    /// What the cache did, in the words of nginx's `$upstream_cache_status`, lower case.
    CacheResult {
        /// Answered from a fresh copy.
        Hit = "hit",
        /// No copy; fetched.
        Miss = "miss",
        /// The copy was stale; fetched anew.
        Expired = "expired",
        /// Answered from a stale copy because the backend failed.
        Stale = "stale",
        /// Answered from a stale copy while it is fetched anew.
        Updating = "updating",
        /// The copy was stale; the backend confirmed it.
        Revalidated = "revalidated",
        /// The cache was not asked.
        Bypass = "bypass",
        /// The request ended before the cache had a say.
        None = "none",
    }
}

impl CacheResult {
    /// The result of that word in any case (`HIT` as in `X-Cache-Status`); `None` for any other word.
    pub fn of(word: &str) -> CacheResult {
        CacheResult::ALL.iter().copied().find(|r| r.as_str().eq_ignore_ascii_case(word)).unwrap_or(CacheResult::None)
    }
}

words! {
    /// What became of a reload.
    ReloadResult {
        /// The new snapshot is in use.
        Applied = "applied",
        /// The files had errors; the old snapshot stays.
        Rejected = "rejected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invented_method_makes_no_new_label() {
        assert_eq!(Method::of("GET"), Method::Get);
        assert_eq!(Method::of("get"), Method::Other);
        assert_eq!(Method::of("BREW"), Method::Other);
        assert_eq!(Method::from(&http::Method::PATCH), Method::Patch);
    }

    #[test]
    fn a_status_outside_the_five_classes_is_none() {
        assert_eq!(StatusClass::of(0), StatusClass::None);
        assert_eq!(StatusClass::of(99), StatusClass::None);
        assert_eq!(StatusClass::of(100), StatusClass::Informational);
        assert_eq!(StatusClass::of(204), StatusClass::Successful);
        assert_eq!(StatusClass::of(304), StatusClass::Redirection);
        assert_eq!(StatusClass::of(499), StatusClass::ClientError);
        assert_eq!(StatusClass::of(599), StatusClass::ServerError);
        assert_eq!(StatusClass::of(u16::MAX), StatusClass::None);
    }

    #[test]
    fn a_cache_word_is_read_in_either_case() {
        assert_eq!(CacheResult::of("HIT"), CacheResult::Hit);
        assert_eq!(CacheResult::of("revalidated"), CacheResult::Revalidated);
        assert_eq!(CacheResult::of(""), CacheResult::None);
    }

    #[test]
    fn an_index_is_the_place_of_the_word() {
        for result in CacheResult::ALL {
            assert_eq!(CacheResult::WORDS[result.index()], result.as_str());
        }
    }
}
