//! Pages of the statistics that take a walk over all torrents, kept for those who wait for the same.

use tokio::time::Instant;

/// The last page of each mode that takes a walk. Only whoever has it locked may walk.
#[derive(Debug, Default)]
pub(super) struct PageCache(Vec<CachedPage>);

/// A page, and when its walk was started.
#[derive(Debug)]
pub(super) struct CachedPage {
    pub(super) mode: &'static str,
    pub(super) walk_start: Instant,
    pub(super) page: String,
}

impl PageCache {
    /// Returns the page of a mode, if its walk began no earlier than the page was asked for.
    pub(super) fn since(&self, asked: Instant, mode: &str) -> Option<&CachedPage> {
        self.0.iter().find(|cached| cached.mode == mode && cached.walk_start >= asked)
    }

    /// Keeps a page instead of the previous one of its mode.
    pub(super) fn put(&mut self, page: CachedPage) {
        self.0.retain(|earlier| earlier.mode != page.mode);
        self.0.push(page);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_page_is_there_for_those_who_asked_before_its_walk_began() {
        let (mut cache, start) = (PageCache::default(), Instant::now());
        let (earlier, later) = (start - Duration::from_nanos(1), start + Duration::from_nanos(1));
        let page = |mode, walk_start, page: &str| CachedPage { mode, walk_start, page: page.to_owned() };
        cache.put(page("top10", start, "ten"));
        cache.put(page("top100", start, "a hundred"));
        let since = |cache: &PageCache, asked, mode| cache.since(asked, mode).map(|cached| cached.page.clone());
        assert_eq!(since(&cache, earlier, "top10").as_deref(), Some("ten"));
        assert_eq!(since(&cache, start, "top100").as_deref(), Some("a hundred"));
        assert_eq!((since(&cache, later, "top10"), since(&cache, start, "everything")), (None, None));
        cache.put(page("top10", later, "ten others"));
        assert_eq!(since(&cache, start, "top10").as_deref(), Some("ten others"));
        assert_eq!(cache.0.len(), 2);
    }
}
