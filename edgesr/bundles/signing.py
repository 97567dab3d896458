"""Keys that Android apps are signed with: one's own, or one for trying out that is made when it is first needed."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from edgesr.bundles.tools import need, run
from edgesr.errors import OutputError, UsageError

PASSWORD = "EDGESR_KEYSTORE_PASSWORD"
"""Environment variable: what stands on a command line can be read by every user of a computer."""
DEBUG_PASSWORD = "android"
"""As everywhere for debug keys: it protects nothing."""
DEBUG_ALIAS = "edgesr-debug"
VALID_DAYS = "10000"
STEP_S = 120.0
ADVICE = "Is the password right, and is the file a keystore?"


@dataclass(frozen=True, slots=True)
class Key:
    """`alias`: None where the keystore has one key. `words`: for people, no path in it."""

    keystore: Path
    alias: str | None
    password_from: str
    words: str
    is_debug: bool

    def sign(self, apksigner: str, unsigned: Path, signed: Path, least_api: int) -> None:
        """Raises BundleError."""
        alias = [] if self.alias is None else ["--ks-key-alias", self.alias]
        command = [apksigner, "sign", "--ks", str(self.keystore), *alias, "--ks-pass", self.password_from]
        # v1 is for Android 6 and older.
        schemes = ["--v1-signing-enabled", "false", "--v4-signing-enabled", "false"]
        files = ["--min-sdk-version", str(least_api), "--out", str(signed), str(unsigned)]
        run([*command, *schemes, *files], signed.parent, STEP_S, ADVICE)


def key(keystore: Path | None, alias: str | None) -> Key:
    """Raises UsageError, MissingTool, OutputError."""
    if keystore is None:
        if alias is not None:
            raise UsageError("--key-alias names a key in a keystore. Add --keystore FILE.")
        return Key(debug_keystore(), DEBUG_ALIAS, f"pass:{DEBUG_PASSWORD}", "a key for trying out", True)
    if not keystore.is_file():
        raise UsageError(f"There is no keystore {keystore}.")
    if not os.environ.get(PASSWORD):
        raise UsageError(f"Put the password of {keystore} into the environment variable {PASSWORD}.")
    return Key(keystore.resolve(), alias, f"env:{PASSWORD}", "the key of who made it", False)


def debug_keystore() -> Path:
    """In the user's configuration; made when it is not there."""
    import platformdirs

    place = Path(platformdirs.user_config_dir("edgesr")) / "android-debug.p12"
    if place.is_file():
        return place
    keytool = need("keytool", "makes a key to sign the Android app with")
    new = place.with_name(f".{secrets.token_hex(8)}.p12")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        made = [keytool, "-genkeypair", "-keystore", str(new), "-storetype", "PKCS12", "-alias", DEBUG_ALIAS]
        kind = ["-keyalg", "RSA", "-keysize", "2048", "-validity", VALID_DAYS, "-dname", "CN=edgesr debug"]
        run([*made, *kind, "-storepass", DEBUG_PASSWORD], place.parent, STEP_S, "Is the folder writable?")
        new.chmod(0o600)
        os.replace(new, place)
    except OSError as error:
        raise OutputError(f"Cannot write {place}: {error.strerror}. Make the folder writable.") from error
    finally:
        new.unlink(missing_ok=True)
    return place
