"""Why something is pending, withheld or wrong: a closed list of codes, one documentation page each.

A1xx is about allocation, N2xx about announcement, B3xx about a BGP session, C5xx about a configuration object. A decision returns a
`Refusal`: the code for machines, and a detail for people that names the objects concerned and the fix. Logs, Events, metrics and
conditions are derived from it elsewhere.
"""

import dataclasses
import enum


class Reason(enum.Enum):
    """A code and its name. The name goes into conditions, the code into messages and the documentation's address."""

    # Allocation.
    NO_POOL = ("A101", "NoPool")
    POOL_EXHAUSTED = ("A102", "PoolExhausted")
    SELECTOR_MISMATCH = ("A103", "SelectorMismatch")
    ADDRESS_NOT_IN_POOL = ("A104", "RequestedIPNotInPool")
    SHARING_CLASH = ("A105", "SharingClash")
    FAMILY_UNAVAILABLE = ("A107", "FamilyUnavailable")
    UNKNOWN_POOL = ("A111", "UnknownPool")
    INVALID_REQUEST = ("A112", "InvalidRequest")
    NO_CLUSTER_IP = ("A113", "NoClusterIP")
    # Announcement.
    NO_ADVERTISEMENT = ("N201", "NoAdvertisement")
    NO_ELIGIBLE_NODE = ("N202", "NoEligibleNode")
    NO_READY_ENDPOINT = ("N203", "NoReadyEndpoint")
    NO_LOCAL_ENDPOINT = ("N204", "NoLocalEndpoint")
    NODE_EXCLUDED = ("N205", "NodeExcludedByLabel")
    INTERFACE_MISSING = ("N206", "InterfaceMissing")
    DRAINING = ("N210", "Draining")
    NODE_NETWORK_UNAVAILABLE = ("N211", "NodeNetworkUnavailable")
    NOT_OWNER = ("N212", "NotOwner")
    SHARED_WITH_SERVICE_SELECTOR = ("N213", "SharedIPWithServiceSelector")
    NO_ADDRESS = ("N214", "NoAddress")
    ADDRESS_NOT_ALLOWED = ("N215", "AddressNotInAnyPool")
    CONFLICTING_ADVERTISEMENTS = ("N216", "ConflictingAdvertisements")
    NO_PEER = ("N217", "NoPeer")
    ANNOUNCEMENT_PENDING = ("N218", "AnnouncementPending")
    # BGP sessions.
    BGP_CONNECT_FAILED = ("B301", "ConnectFailed")
    BGP_AS_MISMATCH = ("B302", "ASMismatch")
    BGP_AUTH_MISMATCH = ("B303", "AuthMismatch")
    BGP_HOLD_EXPIRED = ("B304", "HoldExpired")
    BGP_PASSWORD_UNAVAILABLE = ("B305", "PasswordUnavailable")
    BGP_BFD_DOWN = ("B307", "BFDDown")
    BGP_NOTIFICATION_RECEIVED = ("B308", "PeerSentNotification")
    BGP_PROTOCOL_ERROR = ("B309", "ProtocolError")
    BGP_NO_COMMON_FAMILY = ("B310", "NoCommonFamily")
    BGP_CONNECTION_LOST = ("B311", "ConnectionLost")
    BGP_SOURCE_ADDRESS = ("B312", "SourceAddressUnusable")
    BGP_INTERFACE = ("B313", "InterfaceUnusable")
    # Configuration objects.
    INVALID_OBJECT = ("C501", "InvalidObject")
    POOL_OVERLAP = ("C502", "PoolOverlap")

    def __init__(self, code: str, label: str) -> None:
        self.code = code
        self.label = label


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A decision not to. `detail` is a sentence without a final stop, for a person."""

    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{self.detail} [{self.reason.code} {self.reason.label}]"
