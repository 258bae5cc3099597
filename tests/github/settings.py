"""Secrets, variables, environments and rulesets; users and teams."""

from collections.abc import Callable
from dataclasses import dataclass

from github.errors import RefusedError, invalid, not_found
from github.routes import Answer, Call, Json, Route
from github.world import Gate, Vault, World

_REPO = "/repos/<owner>/<name>"


@dataclass
class Settings:
    """The endpoints that people see as a repository's or an organization's settings."""

    world: World

    def routes(self) -> list[Route]:
        environment = f"{_REPO}/environments/<environment>"
        policies = f"{environment}/deployment-branch-policies"
        rulesets = f"{_REPO}/rulesets"
        return [
            ("GET", "/orgs/<owner>", self.organization),
            ("GET", "/user", self.myself),
            ("GET", "/users/<user>", self.user),
            ("GET", "/users/<user>/gpg_keys", self.nothing),
            ("GET", "/users/<user>/keys", self.nothing),
            ("GET", "/orgs/<owner>/teams/<slug>", self.team),
            *_vault(f"{_REPO}/actions", self._repository_vault),
            *_vault("/orgs/<owner>/actions", self._organization_vault, self.world),
            *_vault(environment, self._environment_vault),
            *_vault(
                "/repositories/<number>/environments/<environment>", self._environment_by_number
            ),
            ("GET", environment, self.get_environment),
            ("PUT", environment, self.put_environment),
            ("DELETE", environment, self.delete_environment),
            ("POST", policies, self.create_policy),
            ("GET", f"{policies}/<int:number>", self.get_policy),
            ("PUT", f"{policies}/<int:number>", self.put_policy),
            ("DELETE", f"{policies}/<int:number>", self.delete_policy),
            ("POST", rulesets, self.create_ruleset),
            ("GET", f"{rulesets}/<int:number>", self.get_ruleset),
            ("PUT", f"{rulesets}/<int:number>", self.put_ruleset),
            ("DELETE", f"{rulesets}/<int:number>", self.delete_ruleset),
        ]

    # --- who --------------------------------------------------------------------------------------

    def organization(self, call: Call, owner: str) -> Answer:
        if not self.world.organization or owner != self.world.owner:
            raise not_found()
        return 200, {"id": 1, "login": owner}

    def myself(self, call: Call) -> Answer:
        return 200, {"id": 2, "login": self.world.owner}

    def user(self, call: Call, user: str) -> Answer:
        if user not in self.world.users:
            raise not_found()
        return 200, {"id": self.world.users[user], "login": user, "type": "User"}

    def nothing(self, call: Call, user: str) -> Answer:
        return 200, []

    def team(self, call: Call, owner: str, slug: str) -> Answer:
        if owner != self.world.owner or slug not in self.world.teams:
            raise not_found()
        return 200, {"id": self.world.teams[slug], "slug": slug, "name": slug.title()}

    # --- where secrets and variables are kept -----------------------------------------------------

    def _repository_vault(self, owner: str, name: str) -> Vault:
        return self.world.repository(owner, name).vault

    def _organization_vault(self, owner: str) -> Vault:
        if not self.world.organization or owner != self.world.owner:
            raise not_found()
        return self.world.vault

    def _environment_vault(self, owner: str, name: str, environment: str) -> Vault:
        return self._gate(owner, name, environment).vault

    def _environment_by_number(self, number: str, environment: str) -> Vault:
        found = self.world.by_number(number)
        return self._gate(found.owner, found.name, environment).vault

    # --- environments -----------------------------------------------------------------------------

    def _gate(self, owner: str, name: str, environment: str) -> Gate:
        gates = self.world.repository(owner, name).environments
        if environment not in gates:
            raise not_found()
        return gates[environment]

    def put_environment(self, call: Call, owner: str, name: str, environment: str) -> Answer:
        gates = self.world.repository(owner, name).environments
        known = {*self.world.users.values(), *self.world.teams.values()}
        for reviewer in call.body.get("reviewers") or []:
            if reviewer["id"] not in known:
                raise RefusedError(422, f"Invalid reviewer {reviewer['id']}")
        gate = gates.setdefault(
            environment, Gate(self.world.number(), {}, Vault(self.world.number()))
        )
        gate.rules = call.body
        return 200, self._shown(environment, gate)

    def get_environment(self, call: Call, owner: str, name: str, environment: str) -> Answer:
        return 200, self._shown(environment, self._gate(owner, name, environment))

    def delete_environment(self, call: Call, owner: str, name: str, environment: str) -> Answer:
        self._gate(owner, name, environment)
        del self.world.repository(owner, name).environments[environment]
        return 204, None

    def _shown(self, environment: str, gate: Gate) -> Json:
        rules: list[Json] = []
        if gate.rules.get("wait_timer"):
            rules.append({"type": "wait_timer", "wait_timer": gate.rules["wait_timer"]})
        if reviewers := gate.rules.get("reviewers"):
            rules.append(
                {
                    "type": "required_reviewers",
                    "prevent_self_review": gate.rules.get("prevent_self_review", False),
                    "reviewers": [
                        {"type": item["type"], "reviewer": {"id": item["id"]}} for item in reviewers
                    ],
                }
            )
        policy = gate.rules.get("deployment_branch_policy")
        if policy:
            rules.append({"type": "branch_policy"})
        return {
            "id": gate.number,
            "name": environment,
            "can_admins_bypass": gate.rules.get("can_admins_bypass", True),
            "protection_rules": rules,
            "deployment_branch_policy": policy,
        }

    def create_policy(self, call: Call, owner: str, name: str, environment: str) -> Answer:
        gate = self._gate(owner, name, environment)
        if not (gate.rules.get("deployment_branch_policy") or {}).get("custom_branch_policies"):
            raise not_found()
        number = self.world.number()
        gate.policies[number] = call.body["name"]
        return 200, {"id": number, "name": call.body["name"], "type": "branch"}

    def get_policy(
        self, call: Call, owner: str, name: str, environment: str, number: int
    ) -> Answer:
        gate = self._gate(owner, name, environment)
        if number not in gate.policies:
            raise not_found()
        return 200, {"id": number, "name": gate.policies[number], "type": "branch"}

    def put_policy(
        self, call: Call, owner: str, name: str, environment: str, number: int
    ) -> Answer:
        self._gate(owner, name, environment).policies[number] = call.body["name"]
        return self.get_policy(call, owner, name, environment, number)

    def delete_policy(
        self, call: Call, owner: str, name: str, environment: str, number: int
    ) -> Answer:
        self.get_policy(call, owner, name, environment, number)
        del self._gate(owner, name, environment).policies[number]
        return 204, None

    # --- rulesets ---------------------------------------------------------------------------------

    def create_ruleset(self, call: Call, owner: str, name: str) -> Answer:
        rulesets = self.world.repository(owner, name).rulesets
        if any(known["name"] == call.body["name"] for known in rulesets.values()):
            raise invalid("Name must be unique")
        number = self.world.number()
        rulesets[number] = {
            **call.body,
            "id": number,
            "node_id": f"RRS_{number}",
            "source": f"{owner}/{name}",
            "source_type": "Repository",
        }
        return 201, rulesets[number]

    def get_ruleset(self, call: Call, owner: str, name: str, number: int) -> Answer:
        rulesets = self.world.repository(owner, name).rulesets
        if number not in rulesets:
            raise not_found()
        return 200, rulesets[number]

    def put_ruleset(self, call: Call, owner: str, name: str, number: int) -> Answer:
        self.get_ruleset(call, owner, name, number)[1].update(call.body)
        return self.get_ruleset(call, owner, name, number)

    def delete_ruleset(self, call: Call, owner: str, name: str, number: int) -> Answer:
        self.get_ruleset(call, owner, name, number)
        del self.world.repository(owner, name).rulesets[number]
        return 204, None


def _vault(at: str, vault: Callable[..., Vault], world: World | None = None) -> list[Route]:
    """Secrets and variables below a path. With `world`, an organization's."""

    def detail(what: str, found: Vault, body: Json) -> None:
        if world is None:
            return
        before = found.details.get(what, {"visibility": "private", "selected": []})
        visibility = body.get("visibility", before["visibility"])
        ids = body.get("selected_repository_ids")
        selected = before["selected"] if ids is None else world.selected(ids)
        found.details[what] = {"visibility": visibility, "selected": selected}

    def told(what: str, found: Vault) -> Json:
        if what not in found.stamps:
            raise not_found()
        visibility = {"visibility": found.details[what]["visibility"]} if world else {}
        return {"name": what.partition("/")[2], **found.times(what), **visibility}

    def key(call: Call, **place: str) -> Answer:
        return 200, vault(**place).key

    def put_secret(call: Call, secret: str, **place: str) -> Answer:
        found = vault(**place)
        known = secret in found.secrets
        found.secrets[secret] = found.decrypt(call.body)
        found.stamp(f"secret/{secret}")
        detail(f"secret/{secret}", found, call.body)
        return (204, None) if known else (201, {})

    def get_secret(call: Call, secret: str, **place: str) -> Answer:
        return 200, told(f"secret/{secret}", vault(**place))

    def delete_secret(call: Call, secret: str, **place: str) -> Answer:
        found = vault(**place)
        if found.secrets.pop(secret, None) is None:
            raise not_found()
        del found.stamps[f"secret/{secret}"]
        return 204, None

    def create_variable(call: Call, **place: str) -> Answer:
        found, name = vault(**place), call.body["name"]
        if name in found.variables:
            raise RefusedError(409, "Already exists - Variable already exists")
        found.variables[name] = call.body["value"]
        found.stamp(f"variable/{name}")
        detail(f"variable/{name}", found, call.body)
        return 201, {}

    def get_variable(call: Call, variable: str, **place: str) -> Answer:
        found = vault(**place)
        answer = told(f"variable/{variable}", found)
        return 200, {**answer, "value": found.variables[variable]}

    def edit_variable(call: Call, variable: str, **place: str) -> Answer:
        found = vault(**place)
        told(f"variable/{variable}", found)
        found.variables[variable] = call.body["value"]
        found.stamp(f"variable/{variable}")
        detail(f"variable/{variable}", found, call.body)
        return 204, None

    def delete_variable(call: Call, variable: str, **place: str) -> Answer:
        found = vault(**place)
        told(f"variable/{variable}", found)
        del found.variables[variable], found.stamps[f"variable/{variable}"]
        return 204, None

    def repositories(kind: str) -> list[Route]:
        def get(call: Call, item: str, **place: str) -> Answer:
            found = vault(**place)
            told(f"{kind}/{item}", found)
            chosen = [{"id": number} for number in found.details[f"{kind}/{item}"]["selected"]]
            return 200, {"total_count": len(chosen), "repositories": chosen}

        def put(call: Call, item: str, **place: str) -> Answer:
            found = vault(**place)
            told(f"{kind}/{item}", found)
            if found.details[f"{kind}/{item}"]["visibility"] != "selected":
                raise RefusedError(409, "Visibility type is not selected")
            detail(f"{kind}/{item}", found, call.body)
            return 204, None

        path = f"{at}/{kind}s/<item>/repositories"
        return [("GET", path, get), ("PUT", path, put)]

    return [
        ("GET", f"{at}/secrets/public-key", key),
        ("PUT", f"{at}/secrets/<secret>", put_secret),
        ("GET", f"{at}/secrets/<secret>", get_secret),
        ("DELETE", f"{at}/secrets/<secret>", delete_secret),
        ("POST", f"{at}/variables", create_variable),
        ("GET", f"{at}/variables/<variable>", get_variable),
        ("PATCH", f"{at}/variables/<variable>", edit_variable),
        ("DELETE", f"{at}/variables/<variable>", delete_variable),
        *(repositories("secret") + repositories("variable") if world else []),
    ]
