"""What Linux knows by name, and Docker refuses to make a container without."""

import re

from pulumi_tiers.model.errors import nearest, reject, shown

_NAMES = """
ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE
DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE
MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG
SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE
SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
CAPABILITIES = frozenset(_NAMES.split())
"""linux/capability.h, without the CAP_ before them; ALL is Docker's."""

_WORDS = """
defaults ro rw suid nosuid dev nodev exec noexec sync async dirsync mand nomand atime noatime
diratime nodiratime relatime norelatime strictatime nostrictatime
"""
_FLAGS = frozenset(_WORDS.split())
#: Options of a tmpfs with a value, as Docker takes them.
_VALUES = {
    "size": r"[0-9]+[kmgKMG%]?",
    "mode": "[0-7]{3,4}",
    "uid": "[0-9]{1,10}",
    "gid": "[0-9]{1,10}",
    "nr_inodes": "[0-9]+[kmgKMG]?",
    "nr_blocks": "[0-9]+[kmgKMG]?",
}


def capability(value: str) -> str:
    """The capability as it is written, with or without CAP_. Raises for one that isn't there."""
    name = value.upper().removeprefix("CAP_")
    if not value.isascii() or name not in CAPABILITIES:
        raise reject(f"{shown(value)} is not a capability", "write it like 'NET_BIND_SERVICE'")
    return value


def tmpfs_options(value: str) -> str:
    """Options as in ``size=64m,uid=1000``. Raises for what Docker would refuse."""
    if len(value) > 200:
        raise reject(f"{shown(value)} are not options of a tmpfs", "give fewer")
    for option in value.split(",") if value else []:
        name, equals, given = option.partition("=")
        wanted = _VALUES.get(name) if equals else None
        if wanted and not re.fullmatch(wanted, given):
            why = f"{shown(given)} is not a {name} of a tmpfs"
            raise reject(why, "write them like Docker does: 'size=64m,uid=1000,mode=0755'")
        if not wanted and (equals or name not in _FLAGS):
            why = f"{shown(option)} is not an option of a tmpfs"
            raise reject(why, nearest(name, {*_FLAGS, *(f"{key}=" for key in _VALUES)}))
    return value
