//! flotilla-settings.
