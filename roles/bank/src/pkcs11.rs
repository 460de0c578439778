//! Brand keys in a PKCS#11 token: a hardware security module, a smart card, SoftHSM.
//!
//! A key is made in the token, or taken into it, and never leaves it: sensitive, not extractable. Its id (CKA_ID) is the
//! token key id of its brand; that is how it is found. The token does the raw private operation (CKM_RSA_X_509), and every
//! result is checked by the public key before it is given out, as a fault in the device would give the key away.
//!
//! A session does one operation at a time, so there is a pool of them. When the token does not answer as it should, all of
//! them are closed, the library is started anew, and the operation is tried once more; if that fails, too, the signature is
//! [`Unreachable`](SignatoryError::Unreachable): the request is in the books, and whoever asks again later gets it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use naulon_blind::{
    BlindSignature, BlindedMessage, IssuerKey, IssuerSecret, MODULUS_BITS, MODULUS_LEN, SecretKeyError, SignError,
    SpkiError,
};
use naulon_statement::Digest;
use zeroize::{Zeroize, Zeroizing};

use crate::signatory::{Signatory, SignatoryError};

/// Sessions that are kept open. More are opened when more threads sign, and closed afterwards.
pub const MAX_SESSIONS: usize = 64;
/// 65537.
const EXPONENT: [u8; 3] = [1, 0, 1];
/// What a person sees who lists a token's objects.
const LABEL: &str = "naulon brand";

/// The brands' keys in one token.
///
/// A process uses one of these for one library: starting the library anew, which helps when a token was pulled out, ends
/// all other uses of it.
pub struct TokenKeys {
    module: PathBuf,
    label: String,
    pin: AuthPin,
    link: RwLock<Link>,
}

/// What is open at present.
#[derive(Default)]
struct Link {
    open: Option<Open>,
    /// How often it was made anew: of threads that fail together one does it.
    generation: u64,
}

struct Open {
    library: Pkcs11,
    slot: Slot,
    /// The login holds for all sessions, as long as one is open.
    _login: Mutex<Session>,
    idle: Mutex<Vec<Worker>>,
}

/// A session with the keys that it has found.
struct Worker {
    session: Session,
    keys: BTreeMap<Digest, (ObjectHandle, IssuerKey)>,
}

/// A token that cannot be used. No text of it has the PIN.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The library is not there, or is no PKCS#11 library. Operator: install it; is the path right?
    #[error("the PKCS#11 library {module} cannot be used: {error}")]
    Library {
        /// Its file.
        module: PathBuf,
        /// What it said.
        error: String,
    },
    /// No slot has a token of this label. Operator: plug it in; is the label right?
    #[error("no token is labelled {0}: is it plugged in?")]
    NoToken(String),
    /// The token refuses the PIN. Operator: a token locks itself after a few wrong ones.
    #[error("the token refuses the PIN")]
    Pin,
    /// The key that is to be taken in cannot be used.
    #[error(transparent)]
    Key(#[from] SecretKeyError),
    /// The token has made another key than it was asked for.
    #[error("the token has made an unusable key: {0}")]
    Made(#[from] SpkiError),
    /// Anything else that the token says.
    #[error("the token says: {0}")]
    Token(String),
}

/// What a token did not do.
enum Failure {
    /// The key is not in it.
    Missing,
    /// The result is wrong.
    Sign(SignError),
    /// The token failed: a new session may help.
    Token(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Token(error)
    }
}

impl From<Error> for TokenError {
    fn from(error: Error) -> Self {
        match error {
            Error::Pkcs11(RvError::PinIncorrect | RvError::PinLocked | RvError::PinInvalid, _) => TokenError::Pin,
            error => TokenError::Token(error.to_string()),
        }
    }
}

impl TokenKeys {
    /// Opens the token of this label through the library `module`, and logs in.
    pub fn open(module: &Path, label: &str, pin: &[u8]) -> Result<Self, TokenError> {
        let pin = std::str::from_utf8(pin).map_err(|_| TokenError::Pin)?;
        let pin = AuthPin::new(pin.into());
        let open = Open::new(module, label, &pin)?;
        let link = RwLock::new(Link { open: Some(open), generation: 0 });
        Ok(TokenKeys { module: module.to_owned(), label: label.to_owned(), pin, link })
    }

    /// Makes a key in the token, which takes it a while. When it returns the key is kept there, and its brand may be stated.
    pub fn generate(&self) -> Result<IssuerKey, TokenError> {
        self.reach(|worker| {
            let public = [
                Attribute::Token(true),
                Attribute::Private(false),
                Attribute::Label(LABEL.into()),
                Attribute::ModulusBits(u64::from(MODULUS_BITS.unsigned_abs()).into()),
                Attribute::PublicExponent(EXPONENT.into()),
                Attribute::Verify(true),
            ];
            let private = [&Self::private()[..], &[Attribute::Extractable(false)]].concat();
            let (public, private) =
                worker.session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private)?;
            let key = worker.public(public)?;
            let id = Attribute::Id(key.key_id().to_vec());
            worker.session.update_attributes(public, std::slice::from_ref(&id))?;
            worker.session.update_attributes(private, &[id])?;
            Ok(key)
        })
    }

    /// Takes a key into the token.
    pub fn import(&self, secret: &IssuerSecret) -> Result<(), TokenError> {
        let numbers = secret.numbers()?;
        let key = secret.public();
        let bytes = |number: &Zeroizing<Vec<u8>>| number.to_vec();
        let own = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::RSA),
            Attribute::Extractable(false),
            Attribute::Id(key.key_id().to_vec()),
            Attribute::Modulus(key.modulus_bytes().to_vec()),
            Attribute::PublicExponent(EXPONENT.into()),
            Attribute::PrivateExponent(bytes(&numbers.d)),
            Attribute::Prime1(bytes(&numbers.p)),
            Attribute::Prime2(bytes(&numbers.q)),
            Attribute::Exponent1(bytes(&numbers.d_p)),
            Attribute::Exponent2(bytes(&numbers.d_q)),
            Attribute::Coefficient(bytes(&numbers.q_inverse)),
        ];
        let mut template = Vec::from(Self::private());
        template.extend(own);
        let taken = self.reach(|worker| match worker.find(&Digest(*key.key_id())) {
            Err(Failure::Missing) => Ok(worker.session.create_object(&template).map(|_| ())?),
            found => found.map(|_| ()),
        });
        for attribute in &mut template {
            use Attribute::{Coefficient, Exponent1, Exponent2, Prime1, Prime2, PrivateExponent};
            if let PrivateExponent(secret)
            | Prime1(secret)
            | Prime2(secret)
            | Exponent1(secret)
            | Exponent2(secret)
            | Coefficient(secret) = attribute
            {
                secret.zeroize();
            }
        }
        taken
    }

    /// Destroys the key of a brand, for good. False if it is not in the token.
    pub fn destroy(&self, brand: &Digest) -> Result<bool, TokenError> {
        self.reach(|worker| {
            worker.keys.remove(brand);
            let objects = worker.session.find_objects(&[Attribute::Id(brand.0.to_vec())])?;
            for object in &objects {
                worker.session.destroy_object(*object)?;
            }
            Ok(!objects.is_empty())
        })
    }

    fn private() -> [Attribute; 5] {
        [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Sign(true),
            Attribute::Label(LABEL.into()),
        ]
    }

    fn reach<T>(&self, work: impl Fn(&mut Worker) -> Result<T, Failure>) -> Result<T, TokenError> {
        self.run(work)?.map_err(|failure| match failure {
            Failure::Token(error) => error.into(),
            Failure::Missing | Failure::Sign(_) => TokenError::Token("an unusable key".into()),
        })
    }

    /// Works on a session of the pool; when the token fails, once more on a new one.
    fn run<T>(&self, work: impl Fn(&mut Worker) -> Result<T, Failure>) -> Result<Result<T, Failure>, TokenError> {
        let (failed, generation) = {
            let link = self.link.read().unwrap_or_else(PoisonError::into_inner);
            let done = link.open.as_ref().map(|open| open.work(&work));
            match done {
                Some(Ok(done)) => return Ok(Ok(done)),
                Some(Err(failure @ (Failure::Missing | Failure::Sign(_)))) => return Ok(Err(failure)),
                Some(Err(Failure::Token(error))) => (Some(error), link.generation),
                None => (None, link.generation),
            }
        };
        if let Some(error) = failed {
            tracing::warn!(%error, "the token failed; it is opened anew");
        }
        self.reopen(generation)?;
        let link = self.link.read().unwrap_or_else(PoisonError::into_inner);
        match &link.open {
            Some(open) => Ok(open.work(&work)),
            None => Err(TokenError::NoToken(self.label.clone())),
        }
    }

    /// Opens the token anew, unless another thread has done it since. Nobody uses a session meanwhile.
    fn reopen(&self, generation: u64) -> Result<(), TokenError> {
        let mut link = self.link.write().unwrap_or_else(PoisonError::into_inner);
        if link.generation != generation {
            return Ok(());
        }
        if let Some(open) = link.open.take() {
            open.close();
        }
        link.open = Some(Open::new(&self.module, &self.label, &self.pin)?);
        link.generation += 1;
        Ok(())
    }
}

impl Drop for TokenKeys {
    fn drop(&mut self) {
        if let Some(open) = self.link.get_mut().unwrap_or_else(PoisonError::into_inner).open.take() {
            open.close();
        }
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKeys").field("label", &self.label).finish_non_exhaustive()
    }
}

impl Signatory for TokenKeys {
    fn blind_sign(&self, brand: &Digest, message: &BlindedMessage) -> Result<BlindSignature, SignatoryError> {
        let signed = self.run(|worker| {
            let (handle, key) = worker.find(brand)?;
            // A token may take a number that is not below N, and answer for its remainder.
            if !key.takes(message) {
                return Err(Failure::Sign(SignError::OutOfRange));
            }
            let signature = worker.session.sign(&Mechanism::RsaX509, handle, &message.0)?;
            // Some tokens leave out leading zeros.
            let mut padded = [0; MODULUS_LEN];
            let from = MODULUS_LEN.checked_sub(signature.len()).ok_or(Failure::Sign(SignError::Fault))?;
            padded[from..].copy_from_slice(&signature);
            key.check_blind_signature(message, padded).map_err(Failure::Sign)
        });
        match signed {
            Ok(Ok(signature)) => Ok(signature),
            Ok(Err(Failure::Missing)) => Err(SignatoryError::Missing),
            Ok(Err(Failure::Sign(error))) => Err(error.into()),
            Ok(Err(Failure::Token(error))) => {
                tracing::error!(%error, "the token does not sign");
                Err(SignatoryError::Unreachable)
            }
            Err(error) => {
                tracing::error!(%error, "the token cannot be reached");
                Err(SignatoryError::Unreachable)
            }
        }
    }

    fn holds(&self, brand: &Digest) -> bool {
        matches!(self.run(|worker| worker.find(brand).map(drop)), Ok(Ok(())))
    }
}

impl Open {
    fn new(module: &Path, label: &str, pin: &AuthPin) -> Result<Self, TokenError> {
        let unusable = |error: Error| TokenError::Library { module: module.to_owned(), error: error.to_string() };
        let library = Pkcs11::new(module).map_err(unusable)?;
        library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(unusable)?;
        match Self::log_in(&library, label, pin) {
            Ok((slot, login)) => Ok(Open { library, slot, _login: Mutex::new(login), idle: Mutex::default() }),
            Err(error) => {
                // The library must be free to be started again; what matters is the first error.
                let _ = library.finalize();
                Err(error)
            }
        }
    }

    fn log_in(library: &Pkcs11, label: &str, pin: &AuthPin) -> Result<(Slot, Session), TokenError> {
        for slot in library.get_slots_with_initialized_token()? {
            if library.get_token_info(slot)?.label() == label {
                let session = library.open_rw_session(slot)?;
                match session.login(UserType::User, Some(pin)) {
                    Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => return Ok((slot, session)),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Err(TokenError::NoToken(label.to_owned()))
    }

    fn work<T>(&self, work: impl Fn(&mut Worker) -> Result<T, Failure>) -> Result<T, Failure> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let free = idle().pop();
        let mut worker = match free {
            Some(worker) => worker,
            None => Worker { session: self.library.open_rw_session(self.slot)?, keys: BTreeMap::new() },
        };
        let done = work(&mut worker);
        // A session on which something failed is closed.
        if !matches!(done, Err(Failure::Token(_))) {
            let mut idle = idle();
            if idle.len() < MAX_SESSIONS {
                idle.push(worker);
            }
        }
        done
    }

    /// Ends all sessions and the library.
    fn close(self) {
        let Open { library, _login, idle, .. } = self;
        drop((idle, _login));
        // A token that is gone cannot even be closed; it is opened anew all the same.
        let _ = library.finalize();
    }
}

impl Worker {
    fn find(&mut self, brand: &Digest) -> Result<(ObjectHandle, IssuerKey), Failure> {
        if let Some((handle, key)) = self.keys.get(brand) {
            return Ok((*handle, key.clone()));
        }
        let template = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::RSA),
            Attribute::Id(brand.0.to_vec()),
        ];
        for handle in self.session.find_objects(&template)? {
            let key = self.public(handle)?;
            // Whoever may write into the token could have given another key this id.
            if key.key_id() == &brand.0 {
                self.keys.insert(*brand, (handle, key.clone()));
                return Ok((handle, key));
            }
        }
        Err(Failure::Missing)
    }

    /// The public key of an object, public or private: its modulus is no secret.
    fn public(&self, object: ObjectHandle) -> Result<IssuerKey, Failure> {
        let attributes = self.session.get_attributes(object, &[AttributeType::Modulus])?;
        let [Attribute::Modulus(modulus)] = &attributes[..] else { return Err(Failure::Missing) };
        let modulus: &[u8; MODULUS_LEN] = modulus[..].try_into().map_err(|_| Failure::Missing)?;
        IssuerKey::of_modulus(modulus).map_err(|_| Failure::Missing)
    }
}
