//! hubwarden
