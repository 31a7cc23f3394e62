//! Reading model files.
