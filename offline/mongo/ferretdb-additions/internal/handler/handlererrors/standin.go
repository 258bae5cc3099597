package handlererrors

// MongoDB's names of the codes that only the stand-in uses.
func init() {
	for code, name := range map[ErrorCode]string{
		23:    "AlreadyInitialized",
		31:    "RoleNotFound",
		74:    "NodeNotFound",
		76:    "NoReplicationEnabled",
		93:    "InvalidReplicaSetConfig",
		94:    "NotYetInitialized",
		103:   "NewReplicaSetConfigurationIncompatible",
		10107: "NotWritablePrimary",
		13435: "NotPrimaryNoSecondaryOk",
	} {
		_ErrorCode_map[code] = name
	}
}
