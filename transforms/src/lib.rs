//! Routes and transforms.
