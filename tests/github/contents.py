"""Repositories, branches, files, commits and pull requests."""

import base64
from dataclasses import dataclass

from github.errors import RefusedError, invalid, not_found
from github.routes import Answer, Call, Json, Route
from github.world import Commit, Repository, World, blob, now


@dataclass
class Contents:
    """The endpoints below /repos that git knows, and pull requests."""

    world: World

    def routes(self) -> list[Route]:
        repo = "/repos/<owner>/<name>"
        return [
            ("GET", repo, self.repository),
            ("GET", f"{repo}/branches/<path:branch>", self.branch),
            ("GET", f"{repo}/git/ref/heads/<path:branch>", self.get_ref),
            ("POST", f"{repo}/git/refs", self.create_ref),
            ("DELETE", f"{repo}/git/refs/heads/<path:branch>", self.delete_ref),
            ("GET", f"{repo}/contents/<path:path>", self.get_file),
            ("PUT", f"{repo}/contents/<path:path>", self.put_file),
            ("DELETE", f"{repo}/contents/<path:path>", self.delete_file),
            ("GET", f"{repo}/commits", self.commits),
            ("GET", f"{repo}/commits/<sha>", self.commit),
            ("POST", f"{repo}/pulls", self.create_pull),
            ("GET", f"{repo}/pulls", self.pulls),
            ("GET", f"{repo}/pulls/<int:number>", self.pull),
            ("PATCH", f"{repo}/pulls/<int:number>", self.edit_pull),
        ]

    def repository(self, call: Call, owner: str, name: str) -> Answer:
        return 200, shown(self.world.repository(owner, name))

    # --- branches ---------------------------------------------------------------------------------

    def branch(self, call: Call, owner: str, name: str, branch: str) -> Answer:
        found = self.world.repository(owner, name)
        return 200, {"name": branch, "commit": {"sha": found.head(branch)}, "protected": False}

    def get_ref(self, call: Call, owner: str, name: str, branch: str) -> Answer:
        return 200, _ref(branch, self.world.repository(owner, name).head(branch))

    def create_ref(self, call: Call, owner: str, name: str) -> Answer:
        found = self._writable(owner, name)
        branch = str(call.body["ref"]).removeprefix("refs/heads/")
        if branch in found.branches:
            raise RefusedError(422, "Reference already exists")
        if call.body["sha"] not in found.commits:
            raise RefusedError(422, "Object does not exist")
        found.branches[branch] = call.body["sha"]
        return 201, _ref(branch, call.body["sha"])

    def delete_ref(self, call: Call, owner: str, name: str, branch: str) -> Answer:
        found = self._writable(owner, name)
        if branch not in found.branches:
            raise RefusedError(422, "Reference does not exist")
        found.delete_branch(branch)
        return 204, None

    # --- files ------------------------------------------------------------------------------------

    def get_file(self, call: Call, owner: str, name: str, path: str) -> Answer:
        found = self.world.repository(owner, name)
        ref = call.query.get("ref") or found.default_branch
        tree = found.files(ref)
        if path in tree:
            return 200, _file(path, tree[path], ref)
        below = [_file(key, text, ref) for key, text in tree.items() if key.startswith(f"{path}/")]
        if not below:
            raise not_found()
        return 200, [{**item, "content": None} for item in below]

    def put_file(self, call: Call, owner: str, name: str, path: str) -> Answer:
        found = self._writable(owner, name)
        branch = self._branch(found, call, path)
        text = base64.b64decode(call.body["content"]).decode()
        known = path in found.files(branch)
        found.commit(branch, call.body["message"], {path: text}, "pulumi")
        commit = _commit(found.commits[found.head(branch)])
        return (200 if known else 201), {"content": _file(path, text, branch), "commit": commit}

    def delete_file(self, call: Call, owner: str, name: str, path: str) -> Answer:
        found = self._writable(owner, name)
        branch = self._branch(found, call, path)
        if path not in found.files(branch):
            raise not_found()
        found.commit(branch, call.body["message"], {path: None}, "pulumi")
        return 200, {"content": None, "commit": _commit(found.commits[found.head(branch)])}

    def _branch(self, found: Repository, call: Call, path: str) -> str:
        """Where the file is written; refuses what was not meant for the file as it is."""
        branch = call.body.get("branch") or found.default_branch
        if branch not in found.branches:
            raise RefusedError(404, f"Branch {branch} not found")
        if not call.body.get("message"):
            raise RefusedError(422, 'Invalid request.\n\n"message" wasn\'t supplied.')
        found.check_rules(branch)
        current, given = found.files(branch).get(path), call.body.get("sha")
        if current is not None and not given:
            raise RefusedError(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
        if given and (current is None or given != blob(current)):
            raise RefusedError(409, f"{path} does not match {given}")
        return branch

    # --- commits ----------------------------------------------------------------------------------

    def commits(self, call: Call, owner: str, name: str) -> Answer:
        found = self.world.repository(owner, name)
        start = call.query.get("sha", "")
        history = found.history(start if start in found.commits else found.head(start))
        path = call.query.get("path")
        return 200, [_commit(one) for one in history if not path or path in one.changed]

    def commit(self, call: Call, owner: str, name: str, sha: str) -> Answer:
        found = self.world.repository(owner, name)
        if sha not in found.commits:
            raise RefusedError(422, f"No commit found for SHA: {sha}")
        return 200, _commit(found.commits[sha])

    # --- pull requests ----------------------------------------------------------------------------

    def create_pull(self, call: Call, owner: str, name: str) -> Answer:
        found = self._writable(owner, name)
        head, base = call.body["head"], call.body["base"]
        for branch in (head, base):
            if branch not in found.branches:
                raise invalid(f"{branch} is no branch")
        if found.files(head) == found.files(base):
            raise invalid(f"No commits between {base} and {head}")
        for pull in found.pulls.values():
            if pull["state"] == "open" and pull["head"]["ref"] == head:
                raise invalid(f"A pull request already exists for {owner}:{head}.")
        number = len(found.pulls) + 1
        found.pulls[number] = {
            "number": number,
            "title": call.body["title"],
            "body": call.body.get("body") or "",
            "state": "open",
            "merged": False,
            "merged_at": None,
            "draft": False,
            "maintainer_can_modify": bool(call.body.get("maintainer_can_modify")),
            "head": {"ref": head, "sha": found.head(head), "repo": shown(found)},
            "base": {"ref": base, "sha": found.head(base), "repo": shown(found)},
            "user": {"login": "pulumi"},
            "labels": list[Json](),
            "created_at": now(),
            "updated_at": now(),
        }
        return 201, found.pulls[number]

    def pulls(self, call: Call, owner: str, name: str) -> Answer:
        found = self.world.repository(owner, name)
        state, head = call.query.get("state", "open"), call.query.get("head", "")
        if head and ":" not in head:
            # GitHub ignores such a filter.
            head = ""
        return 200, [
            pull
            for pull in found.pulls.values()
            if state in ("all", pull["state"])
            and (not head or head == f"{owner}:{pull['head']['ref']}")
            and call.query.get("base", pull["base"]["ref"]) == pull["base"]["ref"]
        ]

    def pull(self, call: Call, owner: str, name: str, number: int) -> Answer:
        return 200, self._pull(owner, name, number)

    def edit_pull(self, call: Call, owner: str, name: str, number: int) -> Answer:
        self._writable(owner, name)
        pull = self._pull(owner, name, number)
        if call.body.get("state") == "open" and pull["merged"]:
            raise invalid("state cannot be changed. The pull request cannot be reopened.")
        pull |= {key: call.body[key] for key in ("title", "body", "state") if key in call.body}
        pull["updated_at"] = now()
        return 200, pull

    def _pull(self, owner: str, name: str, number: int) -> Json:
        pulls = self.world.repository(owner, name).pulls
        if number not in pulls:
            raise not_found()
        return pulls[number]

    def _writable(self, owner: str, name: str) -> Repository:
        found = self.world.repository(owner, name)
        if found.archived:
            raise RefusedError(403, "Repository was archived so is read-only.")
        return found


def shown(repository: Repository) -> Json:
    return {
        "id": repository.number,
        "node_id": f"R_{repository.number}",
        "name": repository.name,
        "full_name": f"{repository.owner}/{repository.name}",
        "owner": {"login": repository.owner},
        "private": True,
        "visibility": "private",
        "archived": repository.archived,
        "default_branch": repository.default_branch,
        "html_url": f"https://github.com/{repository.owner}/{repository.name}",
    }


def _ref(branch: str, sha: str) -> Json:
    return {"ref": f"refs/heads/{branch}", "object": {"type": "commit", "sha": sha}}


def _file(path: str, text: str, ref: str) -> Json:
    return {
        "type": "file",
        "encoding": "base64",
        "size": len(text.encode()),
        "name": path.rpartition("/")[2],
        "path": path,
        "content": base64.b64encode(text.encode()).decode(),
        "sha": blob(text),
        "url": f"https://api.github.com/contents/{path}?ref={ref}",
    }


def _commit(commit: Commit) -> Json:
    person = {"name": commit.author, "email": f"{commit.author}@example.com", "date": now()}
    return {
        "sha": commit.sha,
        "commit": {"message": commit.message, "author": person, "committer": person},
        "parents": [{"sha": commit.parent}] if commit.parent else [],
        "files": [
            {"filename": path, "status": "modified" if path in commit.tree else "removed"}
            for path in commit.changed
        ],
    }
