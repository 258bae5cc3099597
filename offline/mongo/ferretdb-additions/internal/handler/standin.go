// What FerretDB lacks and a stand-in for MongoDB needs: users' roles are obeyed, and a replica set
// of one member is initiated, described and kept. It is no replication: there is nobody to elect.

package handler

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/FerretDB/wire"

	"github.com/FerretDB/FerretDB/internal/backends"
	"github.com/FerretDB/FerretDB/internal/clientconn/conninfo"
	"github.com/FerretDB/FerretDB/internal/handler/common"
	"github.com/FerretDB/FerretDB/internal/handler/handlererrors"
	"github.com/FerretDB/FerretDB/internal/types"
	"github.com/FerretDB/FerretDB/internal/util/iterator"
	"github.com/FerretDB/FerretDB/internal/util/lazyerrors"
	"github.com/FerretDB/FerretDB/internal/util/must"
)

// MongoDB's names of these codes are in handlererrors/standin.go.
const (
	errAlreadyInitialized    = handlererrors.ErrorCode(23)
	errRoleNotFound          = handlererrors.ErrorCode(31)
	errNodeNotFound          = handlererrors.ErrorCode(74)
	errNoReplicationEnabled  = handlererrors.ErrorCode(76)
	errInvalidReplicaSet     = handlererrors.ErrorCode(93)
	errNotYetInitialized     = handlererrors.ErrorCode(94)
	errIncompatibleSet       = handlererrors.ErrorCode(103)
	errNotWritablePrimary    = handlererrors.ErrorCode(10107)
	errNotPrimaryNoSecondary = handlererrors.ErrorCode(13435)
)

// permission is what a command needs.
type permission struct {
	roles  []string // any of them, on the command's database
	writes bool
}

var (
	toRead   = permission{roles: []string{"read", "readWrite", "dbOwner"}}
	toLook   = permission{roles: []string{"read", "readWrite", "dbAdmin", "dbOwner"}}
	toWrite  = permission{roles: []string{"readWrite", "dbOwner"}, writes: true}
	toShape  = permission{roles: []string{"readWrite", "dbAdmin", "dbOwner"}, writes: true}
	toAdmin  = permission{roles: []string{"dbAdmin", "dbOwner"}, writes: true}
	toUsers  = permission{roles: []string{"userAdmin", "dbOwner"}, writes: true}
	toKnow   = permission{roles: []string{"userAdmin", "dbOwner"}}
	toManage = permission{roles: []string{"clusterManager", "clusterAdmin"}}
)

var permissions = map[string]permission{
	"aggregate": toRead, "count": toRead, "distinct": toRead, "explain": toRead, "find": toRead,
	"collStats": toLook, "dataSize": toLook, "dbStats": toLook, "dbstats": toLook,
	"listCollections": toLook, "listIndexes": toLook,
	"delete": toWrite, "findAndModify": toWrite, "findandmodify": toWrite, "insert": toWrite,
	"update": toWrite,
	"create": toShape, "createIndexes": toShape, "drop": toShape, "dropIndexes": toShape,
	"renameCollection": toShape,
	"collMod":          toAdmin, "compact": toAdmin, "dropDatabase": toAdmin, "validate": toAdmin,
	"createUser": toUsers, "dropAllUsersFromDatabase": toUsers, "dropUser": toUsers,
	"updateUser": toUsers, "usersInfo": toKnow,
	"replSetGetConfig": toManage, "replSetGetStatus": toManage, "replSetInitiate": toManage,
	"replSetReconfig": toManage,
}

var (
	databaseRoles = []string{"read", "readWrite", "dbAdmin", "dbOwner", "userAdmin"}
	adminRoles    = []string{
		"root", "readAnyDatabase", "readWriteAnyDatabase", "dbAdminAnyDatabase",
		"userAdminAnyDatabase", "clusterAdmin", "clusterManager", "clusterMonitor", "hostManager",
		"backup", "restore",
	}
)

// replicaSet is what local.system.replset holds.
var replicaSet struct {
	sync.Mutex
	loaded bool
	config *types.Document
}

// standIn adds the commands, and puts the checks in front of all that need one.
func (h *Handler) standIn() {
	h.commands["replSetGetConfig"] = &command{Handler: h.replSetGetConfig, Help: "Returns the set's configuration."}
	h.commands["replSetGetStatus"] = &command{Handler: h.replSetGetStatus, Help: "Returns the set's status."}
	h.commands["replSetInitiate"] = &command{Handler: h.replSetInitiate, Help: "Makes a set of one member."}
	h.commands["replSetReconfig"] = &command{Handler: h.replSetReconfig, Help: "Changes the set's configuration."}

	for name, needed := range permissions {
		cmd := h.commands[name]
		if cmd == nil {
			continue
		}

		handler := cmd.Handler
		cmd.Handler = func(ctx context.Context, msg *wire.OpMsg) (*wire.OpMsg, error) {
			document, err := opMsgDocument(msg)
			if err != nil {
				return nil, lazyerrors.Error(err)
			}

			dbName, err := common.GetRequiredParam[string](document, "$db")
			if err != nil {
				return nil, err
			}

			if err = h.checkRoles(ctx, name, dbName, needed); err != nil {
				return nil, err
			}

			if err = h.checkPrimary(ctx, name, needed); err != nil {
				return nil, err
			}

			return handler(ctx, msg)
		}
	}
}

// checkRoles returns an error if none of the user's roles allows the command.
func (h *Handler) checkRoles(ctx context.Context, name, dbName string, needed permission) error {
	if !h.EnableNewAuth {
		return nil
	}

	username, _, _, userDB := conninfo.Get(ctx).Auth()

	user, err := h.stored(ctx, "admin", "system.users", userDB+"."+username)
	if err != nil {
		return lazyerrors.Error(err)
	}

	if user != nil {
		granted := must.NotFail(user.Get("roles")).(*types.Array)
		for i := range granted.Len() {
			entry := must.NotFail(granted.Get(i)).(*types.Document)
			role := must.NotFail(entry.Get("role")).(string)
			on := must.NotFail(entry.Get("db")).(string)

			if on == "admin" {
				if role == "root" {
					return nil
				}

				if everywhere, ok := strings.CutSuffix(role, "AnyDatabase"); ok {
					role, on = everywhere, dbName
				}
			}

			if on == dbName && slices.Contains(needed.roles, role) {
				return nil
			}
		}
	}

	return handlererrors.NewCommandErrorMsg(
		handlererrors.ErrUnauthorized,
		fmt.Sprintf("not authorized on %s to execute command %s", dbName, name),
	)
}

// checkPrimary refuses what a member refuses as long as its set is not initiated.
func (h *Handler) checkPrimary(ctx context.Context, name string, needed permission) error {
	if h.ReplSetName == "" || strings.HasPrefix(name, "replSet") || name == "usersInfo" {
		return nil
	}

	config, err := h.setConfig(ctx)

	switch {
	case err != nil:
		return lazyerrors.Error(err)
	case config != nil:
		return nil
	case needed.writes:
		return handlererrors.NewCommandErrorMsg(errNotWritablePrimary, "not primary")
	default:
		return handlererrors.NewCommandErrorMsg(errNotPrimaryNoSecondary, "not primary and secondaryOk=false")
	}
}

// grantedRoles returns the roles that a command names, as they are kept.
func grantedRoles(document *types.Document, dbName string) (*types.Array, error) {
	res := types.MakeArray(0)

	value, _ := document.Get("roles")

	named, ok := value.(*types.Array)
	if !ok {
		return res, nil
	}

	for i := range named.Len() {
		role, on := "", dbName

		switch entry := must.NotFail(named.Get(i)).(type) {
		case string:
			role = entry
		case *types.Document:
			r, _ := entry.Get("role")
			d, _ := entry.Get("db")
			role, _ = r.(string)
			on, _ = d.(string)
		}

		if !slices.Contains(databaseRoles, role) && (on != "admin" || !slices.Contains(adminRoles, role)) {
			return nil, handlererrors.NewCommandErrorMsg(
				errRoleNotFound, fmt.Sprintf("Could not find role: %s@%s", role, on),
			)
		}

		res.Append(must.NotFail(types.NewDocument("role", role, "db", on)))
	}

	return res, nil
}

// stored returns the document of that _id, or nil.
func (h *Handler) stored(ctx context.Context, dbName, collection, id string) (*types.Document, error) {
	db, err := h.b.Database(dbName)
	if err != nil {
		return nil, err
	}

	coll, err := db.Collection(collection)
	if err != nil {
		return nil, err
	}

	res, err := coll.Query(ctx, nil)
	if err != nil {
		return nil, err
	}

	defer res.Iter.Close()

	for {
		_, document, err := res.Iter.Next()
		if errors.Is(err, iterator.ErrIteratorDone) {
			return nil, nil
		}

		if err != nil {
			return nil, err
		}

		if found, _ := document.Get("_id"); found == id {
			return document, nil
		}
	}
}

// setConfig returns the set's configuration; nil as long as there is none.
func (h *Handler) setConfig(ctx context.Context) (*types.Document, error) {
	replicaSet.Lock()
	defer replicaSet.Unlock()

	if !replicaSet.loaded {
		config, err := h.stored(ctx, "local", "system.replset", h.ReplSetName)
		if err != nil {
			return nil, err
		}

		replicaSet.config, replicaSet.loaded = config, true
	}

	return replicaSet.config, nil
}

// member returns the host of the only member that a configuration names.
func (h *Handler) member(config *types.Document, code handlererrors.ErrorCode) (string, error) {
	if id, _ := config.Get("_id"); id != h.ReplSetName {
		return "", handlererrors.NewCommandErrorMsg(code, fmt.Sprintf(
			"Rejecting initiate with a set name that differs from command line set name, "+
				"initiate set name: %v, command line set name: %s", id, h.ReplSetName,
		))
	}

	value, _ := config.Get("members")

	members, ok := value.(*types.Array)
	if !ok || members.Len() != 1 {
		return "", handlererrors.NewCommandErrorMsg(code, "this stand-in for MongoDB is a set of one member")
	}

	var host string

	if entry, ok := must.NotFail(members.Get(0)).(*types.Document); ok {
		v, _ := entry.Get("host")
		host, _ = v.(string)
	}

	if _, _, err := net.SplitHostPort(host); err != nil {
		host += ":27017"
	}

	// MongoDB asks the host whether it is itself.
	conn, err := net.DialTimeout("tcp", host, 5*time.Second)
	if err != nil {
		return "", handlererrors.NewCommandErrorMsg(errNodeNotFound, fmt.Sprintf(
			"No host described in new configuration with set name %s maps to this node: %s", h.ReplSetName, err,
		))
	}

	_ = conn.Close()

	return host, nil
}

// keep writes the configuration and returns the answer.
func (h *Handler) keep(ctx context.Context, config *types.Document, host string, version int32) (*wire.OpMsg, error) {
	saved := must.NotFail(types.NewDocument(
		"_id", h.ReplSetName,
		"version", version,
		"term", int64(1),
		"members", must.NotFail(types.NewArray(must.NotFail(types.NewDocument(
			"_id", int32(0), "host", host, "arbiterOnly", false, "hidden", false,
			"priority", float64(1), "votes", int32(1),
		)))),
	))

	coll := must.NotFail(must.NotFail(h.b.Database("local")).Collection("system.replset"))
	docs := []*types.Document{saved}

	var err error
	if config == nil {
		_, err = coll.InsertAll(ctx, &backends.InsertAllParams{Docs: docs})
	} else {
		saved.SetRecordID(config.RecordID())
		_, err = coll.UpdateAll(ctx, &backends.UpdateAllParams{Docs: docs})
	}

	if err != nil {
		return nil, lazyerrors.Error(err)
	}

	replicaSet.Lock()
	defer replicaSet.Unlock()

	replicaSet.loaded = false // read again, as it was kept

	return documentOpMsg(must.NotFail(types.NewDocument("ok", float64(1))))
}

func (h *Handler) replSetInitiate(ctx context.Context, msg *wire.OpMsg) (*wire.OpMsg, error) {
	document, err := opMsgDocument(msg)
	if err != nil {
		return nil, lazyerrors.Error(err)
	}

	if h.ReplSetName == "" {
		return nil, handlererrors.NewCommandErrorMsg(
			errNoReplicationEnabled, "This node was not started with replication enabled.",
		)
	}

	config, err := h.setConfig(ctx)
	if err != nil {
		return nil, lazyerrors.Error(err)
	}

	if config != nil {
		return nil, handlererrors.NewCommandErrorMsg(errAlreadyInitialized, "already initialized")
	}

	wanted, err := common.GetRequiredParam[*types.Document](document, document.Command())
	if err != nil {
		return nil, err
	}

	host, err := h.member(wanted, errInvalidReplicaSet)
	if err != nil {
		return nil, err
	}

	return h.keep(ctx, nil, host, 1)
}

func (h *Handler) replSetReconfig(ctx context.Context, msg *wire.OpMsg) (*wire.OpMsg, error) {
	document, err := opMsgDocument(msg)
	if err != nil {
		return nil, lazyerrors.Error(err)
	}

	config, err := h.initiated(ctx)
	if err != nil {
		return nil, err
	}

	wanted, err := common.GetRequiredParam[*types.Document](document, document.Command())
	if err != nil {
		return nil, err
	}

	host, err := h.member(wanted, errIncompatibleSet)
	if err != nil {
		return nil, err
	}

	return h.keep(ctx, config, host, must.NotFail(config.Get("version")).(int32)+1)
}

// initiated returns the set's configuration, or MongoDB's error where there is none.
func (h *Handler) initiated(ctx context.Context) (*types.Document, error) {
	if h.ReplSetName == "" {
		return nil, handlererrors.NewCommandErrorMsg(errNoReplicationEnabled, "not running with --replSet")
	}

	config, err := h.setConfig(ctx)
	if err != nil {
		return nil, lazyerrors.Error(err)
	}

	if config == nil {
		return nil, handlererrors.NewCommandErrorMsg(errNotYetInitialized, "no replset config has been received")
	}

	return config, nil
}

func (h *Handler) replSetGetConfig(ctx context.Context, _ *wire.OpMsg) (*wire.OpMsg, error) {
	config, err := h.initiated(ctx)
	if err != nil {
		return nil, err
	}

	return documentOpMsg(must.NotFail(types.NewDocument("config", config.DeepCopy(), "ok", float64(1))))
}

func (h *Handler) replSetGetStatus(ctx context.Context, _ *wire.OpMsg) (*wire.OpMsg, error) {
	config, err := h.initiated(ctx)
	if err != nil {
		return nil, err
	}

	uptime := int32(time.Since(h.StateProvider.Get().Start).Seconds())

	return documentOpMsg(must.NotFail(types.NewDocument(
		"set", h.ReplSetName,
		"date", time.Now(),
		"myState", int32(1),
		"term", int64(1),
		"members", must.NotFail(types.NewArray(must.NotFail(types.NewDocument(
			"_id", int32(0), "name", hostOf(config), "health", float64(1),
			"state", int32(1), "stateStr", "PRIMARY", "uptime", uptime, "self", true,
		)))),
		"ok", float64(1),
	)))
}

// hostOf returns the host of the only member of a kept configuration.
func hostOf(config *types.Document) string {
	members := must.NotFail(config.Get("members")).(*types.Array)
	return must.NotFail(must.NotFail(members.Get(0)).(*types.Document).Get("host")).(string)
}

// describeSet adds to hello's answer what clients of a replica set look for.
func (h *Handler) describeSet(ctx context.Context, res *types.Document) error {
	config, err := h.setConfig(ctx)
	if err != nil {
		return lazyerrors.Error(err)
	}

	res.Set("secondary", false)

	if config == nil {
		for _, key := range []string{"isWritablePrimary", "ismaster"} {
			if res.Has(key) {
				res.Set(key, false)
			}
		}

		res.Set("info", "Does not have a valid replica set config")
		res.Set("isreplicaset", true)

		return nil
	}

	host := hostOf(config)
	res.Set("setName", h.ReplSetName)
	res.Set("setVersion", must.NotFail(config.Get("version")))
	res.Set("hosts", must.NotFail(types.NewArray(host)))
	res.Set("primary", host)
	res.Set("me", host)

	return nil
}
