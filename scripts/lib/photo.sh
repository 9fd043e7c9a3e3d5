# shellcheck shell=bash
# The smoke test at the end of scripts/deploy: process a photo end to end, then delete all of its files.

: "${name:=}" "${key:=}" # the installation, and a function key of its app

blob() { az storage blob "$@" --account-name "$(setting STORAGE_ACCOUNT_NAME)" --auth-mode login --only-show-errors; }

# Print the command that shows the app's logs.
logs() {
  printf "az monitor app-insights query --resource-group %s --app %s --analytics-query 'union traces, exceptions | top 50 by timestamp'" \
    "$(setting AZURE_RESOURCE_GROUP)" "$(setting INSIGHTS_NAME)"
}

# ask PATH [curl options]: send a request to the app. curl reads the key from standard input, because every user of this
# machine can read a program's arguments.
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

# again ERROR FIX COMMAND…: repeat the command until it succeeds, with its output in $answer; otherwise fail.
again() {
  local wrong=$1 mend=$2 tries=0
  shift 2
  until answer=$("$@"); do
    tries=$((tries + 1))
    [ "$tries" -lt "${DEPLOY_TRIES:-40}" ] || fail "$wrong${answer:+: $answer}" "$mend"
    sleep "${DEPLOY_PAUSE:-5}"
  done
}

# field NAME: print the values of a field in the JSON response, one per line.
field() { { grep -oE "\"$1\":(\"[^\"]*\"|[0-9]+)" <<<"$answer" || true; } | sed -E 's/^[^:]*:"?//; s/"$//'; }

read_recipes() {
  again "the app does not respond" "see the logs: $(logs); then: scripts/deploy $name" ask recipes
  recipes=$(grep -oE '"name":"[^"]*","description"' <<<"$answer" | cut -d '"' -f 4)
}

# jobs_of SOURCE: list the photo's jobs of all recipes.
jobs_of() {
  local recipe
  for recipe in $recipes; do ask "jobs?recipe=$recipe&prefix=$1" || return; done
}

# ended SOURCE COUNT: true when all expected jobs have ended. Roles take some minutes to take effect, so jobs that were
# denied access are retried.
ended() {
  answer=$(jobs_of "$1") && [ "$(field state | wc -l)" -ge "$2" ] && [[ ! $(field state) =~ queued|running ]] || return
  printf '%s' "$answer"
  [[ $(field kind) =~ denied ]] || return 0
  ask failures/retry --header 'Content-Type: application/json' --data "{\"prefix\": \"$1\"}" >/dev/null
  return 1
}

# Upload a photo and wait for its jobs. The recipe file decides which recipes match it and where the renditions go.
try_a_photo() {
  local source due started recipe recipes answer
  source=deploy-check/$(date +%s).jpg
  read_recipes
  say "== uploading a photo"
  again "the photo cannot be uploaded" "roles take some minutes to take effect: scripts/deploy $name" \
    blob upload --container-name "$(setting INPUT_CONTAINER)" --name "$source" --file scripts/az/photo.jpg --output none
  started=$(date +%s)
  # Count the jobs that are due, then those that have started. If there are none, no recipe matches the photo.
  again "the app cannot read storage" "roles take some minutes to take effect: scripts/deploy $name" \
    ask runs/plan --header 'Content-Type: application/json' --data "{\"selection\": {\"prefix\": \"$source\"}}"
  due=$(field jobs)
  again "the app cannot read its ledger" "roles take some minutes to take effect: scripts/deploy $name" jobs_of "$source"
  if [ "$due" = 0 ] && [ -z "$(field state)" ]; then
    say "no recipe matches $source, so uploads are not tested: upload an image that one of your recipes matches"
  else
    again "$source has no renditions" "roles take some minutes to take effect: scripts/deploy $name; or see the logs: $(logs); docs/deploy.md, 'Troubleshooting'" \
      ended "$source" $((due > 0 ? due : 1))
    [ "$(field state | sort -u)" = 'done' ] ||
      fail "the photo failed: $(field message | head -n 1)" "see the logs: $(logs); docs/operations.md lists the kinds of failures"
    say "renditions after $(($(date +%s) - started)) s, including the start of the app and of a session:"
    for recipe in $(field recipe | sort -u); do
      blob list --container-name "$(setting OUTPUT_CONTAINER)" --prefix "$recipe/$source/" --query '[].name' --output tsv
      blob delete-batch --source "$(setting OUTPUT_CONTAINER)" --pattern "$recipe/$source/*" --output none
    done
  fi
  blob delete --container-name "$(setting INPUT_CONTAINER)" --name "$source" --output none
}

# Test an installation with closed storage: send a preview of the first recipe to the app, which stores nothing.
try_a_request() {
  local recipes recipe answer
  read_recipes
  recipe=$(head -n 1 <<<"$recipes")
  say "== sending a photo to the app"
  again "the app cannot process a photo" "see the logs: $(logs); then: scripts/deploy $name" \
    ask preview --form "recipe=$recipe" --form image=@scripts/az/photo.jpg
  say "renditions of the recipe $recipe: $(field path | tr '\n' ' ')"
}
