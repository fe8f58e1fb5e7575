//! What object stores tell us of uploads: messages of a bucket's notifications, pulled from queues.
