# shellcheck shell=bash
# The check at the end of scripts/deploy: a photo goes all the way, and nothing of it stays.

: "${name:=}" "${key:=}" # the installation, and a key of its app

blob() { az storage blob "$@" --account-name "$(setting STORAGE_ACCOUNT_NAME)" --auth-mode login --only-show-errors; }

# The command that shows what the app has written.
logs() {
  printf "az monitor app-insights query --resource-group %s --app %s --analytics-query 'union traces, exceptions | top 50 by timestamp'" \
    "$(setting AZURE_RESOURCE_GROUP)" "$(setting INSIGHTS_NAME)"
}

# ask PATH [curl's options]: a request to the app. The key goes through standard input: everybody on this machine can
# read a program's arguments.
ask() {
  local path=$1
  shift
  printf 'header = "x-functions-key: %s"\n' "$key" | curl --config - --silent --show-error --fail-with-body --max-time 230 \
    "$@" "https://$(setting FUNCTION_APP_HOST)/api/$path"
}

read_key() {
  key=$(az functionapp keys list --resource-group "$(setting AZURE_RESOURCE_GROUP)" --name "$(setting FUNCTION_APP_NAME)" \
    --query functionKeys.default --output tsv)
}

# again WRONG MEND COMMAND…: until it works, what it prints in $answer; or fail with that.
again() {
  local wrong=$1 mend=$2 tries=0
  shift 2
  until answer=$("$@"); do
    tries=$((tries + 1))
    [ "$tries" -lt "${DEPLOY_TRIES:-40}" ] || fail "$wrong${answer:+: $answer}" "$mend"
    sleep "${DEPLOY_PAUSE:-5}"
  done
}

# The values of a field in the JSON that the app answered, a line each.
field() { { grep -oE "\"$1\":(\"[^\"]*\"|[0-9]+)" <<<"$answer" || true; } | sed -E 's/^[^:]*:"?//; s/"$//'; }

read_recipes() {
  again "the app does not answer" "see why: $(logs); then: scripts/deploy $name" ask recipes
  recipes=$(grep -oE '"name":"[^"]*","description"' <<<"$answer" | cut -d '"' -f 4)
}

# The photo's jobs, of every recipe.
jobs_of() {
  local recipe
  for recipe in $recipes; do ask "jobs?recipe=$recipe&prefix=$1" || return; done
}

# Whether as many jobs as there should be are over. Roles take some minutes to take effect: what was denied is done again.
ended() {
  answer=$(jobs_of "$1") && [ "$(field state | wc -l)" -ge "$2" ] && [[ ! $(field state) =~ queued|running ]] || return
  printf '%s' "$answer"
  [[ $(field kind) =~ denied ]] || return 0
  ask failures/retry --header 'Content-Type: application/json' --data "{\"prefix\": \"$1\"}" >/dev/null
  return 1
}

# A photo is dropped, and the app asked what became of it: which recipes take it, and where to, is the recipe file's affair.
try_a_photo() {
  local source due started recipe recipes answer
  source=deploy-check/$(date +%s).jpg
  read_recipes
  say "== dropping a photo"
  again "the photo cannot be uploaded" "roles take some minutes to take effect: scripts/deploy $name" \
    blob upload --container-name "$(setting INPUT_CONTAINER)" --name "$source" --file scripts/az/photo.jpg --output none
  started=$(date +%s)
  # First the jobs that are not begun, then those that are: without any, no recipe takes it.
  again "the app cannot look at storage" "roles take some minutes to take effect: scripts/deploy $name" \
    ask runs/plan --header 'Content-Type: application/json' --data "{\"selection\": {\"prefix\": \"$source\"}}"
  due=$(field jobs)
  again "the app cannot look at its ledger" "roles take some minutes to take effect: scripts/deploy $name" jobs_of "$source"
  if [ "$due" = 0 ] && [ -z "$(field state)" ]; then
    say "no recipe takes $source, so that the way of a dropped image is not tried: drop one that yours take"
  else
    again "no renditions of $source came" "roles take some minutes to take effect: scripts/deploy $name; or see why: $(logs); docs/deploy.md, 'Troubleshooting'" \
      ended "$source" $((due > 0 ? due : 1))
    [ "$(field state | sort -u)" = 'done' ] ||
      fail "the photo failed: $(field message | head -n 1)" "see why: $(logs); docs/operations.md lists the kinds of failures"
    say "renditions after $(($(date +%s) - started)) s, the first of which started the app and a session:"
    for recipe in $(field recipe | sort -u); do
      blob list --container-name "$(setting OUTPUT_CONTAINER)" --prefix "$recipe/$source/" --query '[].name' --output tsv
      blob delete-batch --source "$(setting OUTPUT_CONTAINER)" --pattern "$recipe/$source/*" --output none
    done
  fi
  blob delete --container-name "$(setting INPUT_CONTAINER)" --name "$source" --output none
}

# Storage that is closed to this machine is tried through the app, with the first recipe there is; nothing of it is kept.
try_a_request() {
  local recipes recipe answer
  read_recipes
  recipe=$(head -n 1 <<<"$recipes")
  say "== sending a photo to the app"
  again "the app makes nothing of a photo" "see why: $(logs); then: scripts/deploy $name" \
    ask preview --form "recipe=$recipe" --form image=@scripts/az/photo.jpg
  say "the recipe $recipe made of it: $(field path | tr '\n' ' ')"
}
