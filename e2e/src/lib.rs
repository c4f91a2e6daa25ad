//! Real clusters, the real hub and agents, unmodified kubectl and Helm. Everything is in `tests/it`.
