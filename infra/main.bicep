// Everything that the pipeline needs on Azure, in one resource group. scripts/deploy runs it; docs/deploy.md explains it.
targetScope = 'subscription'

@description('Name of this deployment, as azd knows it: a short word per installation, such as `photos-test`.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region. It must offer session pools (Microsoft.App/sessionPools) and Functions Flex Consumption.')
@minLength(1)
@metadata({ azd: { type: 'location' } })
param location string

@description('`try` is the cheapest: a small pool of the built-in interpreter, nothing kept warm, no alerts. `production` has its own image, redundancy within the region, warm sessions and alerts.')
@allowed(['try', 'production'])
param preset string = 'try'

@description('Sessions: `python` is the built-in interpreter with the Pillow it has, paid per session and hour; `image` is the container of session_image/, paid per node. Empty: as the preset says.')
@allowed(['', 'python', 'image'])
param poolKind string = ''

@description('The most sessions at once. 0: as the preset says.')
@minValue(0)
@maxValue(600)
param maxSessions int = 0

@description('Sessions kept started, which cost as much as used ones. -1: as the preset says.')
@minValue(-1)
@maxValue(600)
param readySessions int = -1

@description('Seconds after which an idle session ends and its place in the pool is free.')
@minValue(300)
@maxValue(3600)
param cooldownSeconds int = 300

@description('The session image, as `scripts/image push` prints it. Empty until it has been pushed: there is no pool of the kind `image` before.')
param sessionImage string = ''

@description('Jobs at once in a session; the transfers of one overlap with the run of the other.')
@minValue(1)
@maxValue(8)
param jobsPerSession int = 2

@description('Dropped images under way at once for each session. Small ones wait in line, so that several share one execution: the farther the pool, the more of them it takes.')
@minValue(1)
@maxValue(32)
param dropsPerSession int = 12

@description('Least number of instances that the region lets a function app be limited to. Some regions still refuse less than 40.')
@minValue(1)
@maxValue(1000)
param leastInstances int = 1

@description('Memory of an instance in MiB. Images are streamed, so that 2048 is enough for what an instance takes at once.')
@allowed([512, 2048, 4096])
param instanceMemory int = 2048

@description('Keep storage off the public network: a virtual network with private endpoints. Uploads from outside then go through the HTTP API.')
param networkIsolation bool = false

@description('How often storage keeps what is in it, such as `Standard_LRS`. Empty: as the preset says. An account that is there can take on or lose zones only by a migration, never by a deployment.')
@allowed(['', 'Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_RAGRS', 'Standard_GZRS', 'Standard_RAGZRS'])
param storageRedundancy string = ''

@description('Where alerts are mailed to. Empty: they show in the portal alone.')
param alertEmail string = ''

@description('Who deploys: may use storage and pool, for the check after the deployment and for `python -m pipeline`. Empty: nobody.')
param principalId string = ''

@description('What `principalId` is: `User` or, in a pipeline, `ServicePrincipal`.')
@allowed(['User', 'ServicePrincipal'])
param principalType string = 'User'

var presets = {
  try: { pool: 'python', sessions: 5, ready: 0, redundancy: 'Standard_LRS', registry: 'Basic', keepDays: 30, logsPerDay: 1, warm: 0, alerts: false }
  production: { pool: 'image', sessions: 20, ready: 2, redundancy: 'Standard_ZRS', registry: 'Standard', keepDays: 90, logsPerDay: -1, warm: 1, alerts: true }
}
var chosen = presets[preset]
var kind = empty(poolKind) ? chosen.pool : poolKind
// The pool is made from its image, so that there is none before. Until then the app stays as it is, whatever that is: it
// would have no pool to talk to.
var waits = kind == 'image' && empty(sessionImage)

// Sizes. A job holds one of the seats of a session. An instance takes up to 16 jobs of a kind (queue, requests); so many
// instances that together they can fill every seat, and no more: what waits should wait in the queue. Of dropped images
// more are under way, since small ones go through a session by the dozen.
var sessions = maxSessions == 0 ? chosen.sessions : maxSessions
var readyByPreset = kind == 'image' ? chosen.ready : 0
var ready = min(readySessions < 0 ? readyByPreset : readySessions, sessions)
var seats = sessions * jobsPerSession
var instances = max(leastInstances, (seats + 15) / 16)
var jobsPerInstance = max(1, seats / instances)
var dropsPerInstance = max(1, sessions * max(dropsPerSession, jobsPerSession) / instances)

// Names. What must be unique in all of Azure is a hash of subscription, name and region: 13 letters and digits.
var token = toLower(uniqueString(subscription().id, environmentName, location))
var names = {
  // Ends in a word, since the name of a group must not end in a period.
  group: 'rg-${environmentName}-images'
  storage: 'stimages${token}'
  registry: 'crimages${token}'
  app: 'func-images-${token}'
  plan: 'plan-images-${token}'
  identity: 'id-images-${token}'
  poolIdentity: 'id-sessions-${token}'
  eventIdentity: 'id-events-${token}'
  // Without a hyphen: the service's own description of the name has none. With the kind, which no pool can change.
  pool: 'sessions${kind}${token}'
  environment: 'cae-images-${token}'
  workspace: 'log-images-${token}'
  insights: 'appi-images-${token}'
  topic: 'evgt-images-${token}'
  network: 'vnet-images-${token}'
}
var tags = { 'azd-env-name': environmentName }

// The same as the defaults in pipeline/settings.py; a test holds the two together.
var places = {
  input: 'input'
  output: 'output'
  uploads: 'uploads'
  assets: 'assets'
  state: 'pipeline'
  queue: 'jobs'
  runQueue: 'runs'
  ledger: 'ledger'
  runs: 'runs'
}
var deadLetters = 'deadletters'

resource group 'Microsoft.Resources/resourceGroups@2024-07-01' = {
  name: names.group
  location: location
  tags: tags
}

module identities 'identities.bicep' = {
  name: 'identities'
  scope: group
  params: { location: location, tags: tags, app: names.identity, pool: names.poolIdentity, events: names.eventIdentity }
}

module network 'network.bicep' = if (networkIsolation) {
  name: 'network'
  scope: group
  params: { location: location, tags: tags, name: names.network, storage: storage.outputs.id }
}

module storage 'storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    location: location
    tags: tags
    name: names.storage
    redundancy: empty(storageRedundancy) ? chosen.redundancy : storageRedundancy
    places: places
    deadLetters: deadLetters
    topic: names.topic
    eventIdentity: identities.outputs.eventsId
    eventPrincipal: identities.outputs.eventsPrincipal
    isolated: networkIsolation
    keepDeletedDays: preset == 'production' ? 7 : 0
  }
}

module monitoring 'monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: { location: location, tags: tags, workspace: names.workspace, insights: names.insights, keepDays: chosen.keepDays, logsPerDay: chosen.logsPerDay }
}

module registry 'registry.bicep' = if (kind == 'image') {
  name: 'registry'
  scope: group
  params: {
    location: location
    tags: tags
    name: names.registry
    size: chosen.registry
    pullers: [identities.outputs.poolPrincipal]
  }
}

module pool 'pool.bicep' = {
  name: 'pool'
  scope: group
  params: {
    location: location
    tags: tags
    name: names.pool
    kind: kind
    image: sessionImage
    identity: identities.outputs.poolId
    environment: names.environment
    workspace: monitoring.outputs.workspaceId
    maxSessions: sessions
    readySessions: ready
    cooldownSeconds: cooldownSeconds
  }
  // The pool pulls its image when it is made, and needs the role for that.
  dependsOn: [registry]
}

module roles 'roles.bicep' = {
  name: 'roles'
  scope: group
  params: {
    storage: storage.outputs.name
    insights: monitoring.outputs.insightsName
    pool: pool.outputs.name
    app: identities.outputs.appPrincipal
    person: principalId
    personType: principalType
  }
}

module app 'functions.bicep' = if (!waits) {
  name: 'functions'
  scope: group
  params: {
    location: location
    tags: tags
    name: names.app
    plan: names.plan
    identity: identities.outputs.appId
    client: identities.outputs.appClient
    storage: storage.outputs.name
    insights: monitoring.outputs.connectionString
    poolEndpoint: pool.outputs.endpoint
    maxSessions: sessions
    cooldownSeconds: cooldownSeconds
    jobsPerSession: jobsPerSession
    instances: instances
    jobsPerInstance: jobsPerInstance
    dropsPerInstance: dropsPerInstance
    instanceMemory: instanceMemory
    warmInstances: chosen.warm
    places: places
    subnet: networkIsolation ? network!.outputs.appSubnet : ''
  }
  // The host starts with the identity, and gives up for a while where it is refused.
  dependsOn: [roles]
}

module alerts 'alerts.bicep' = if (chosen.alerts) {
  name: 'alerts'
  scope: group
  params: {
    location: location
    tags: tags
    insights: monitoring.outputs.insightsId
    topic: storage.outputs.topicId
    email: alertEmail
    queue: places.queue
  }
}

// azd keeps these in .azure/<environment>/.env, where scripts/deploy reads them.
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_LOCATION string = location
output FUNCTION_APP_NAME string = names.app
output FUNCTION_APP_HOST string = waits ? '' : app!.outputs.host
output INSIGHTS_NAME string = monitoring.outputs.insightsName
output STORAGE_ACCOUNT_NAME string = storage.outputs.name
output TOPIC_NAME string = names.topic
output EVENT_IDENTITY_ID string = identities.outputs.eventsId
output DEAD_LETTER_CONTAINER string = deadLetters
output INPUT_CONTAINER string = places.input
output OUTPUT_CONTAINER string = places.output
output POOL_NAME string = names.pool
output REGISTRY_NAME string = kind == 'image' ? registry!.outputs.name : ''
output NETWORK_ISOLATION bool = networkIsolation

// What `python -m pipeline` needs to work on this installation, under the names of its settings.
output IMAGES__blobServiceUri string = storage.outputs.endpoints.blob
output IMAGES__queueServiceUri string = storage.outputs.endpoints.queue
output IMAGES__tableServiceUri string = storage.outputs.endpoints.table
output PIPELINE_POOL_ENDPOINT string = pool.outputs.endpoint
output PIPELINE_POOL_MAX_SESSIONS string = string(sessions)
output PIPELINE_POOL_COOLDOWN string = string(cooldownSeconds)
output PIPELINE_SESSION_CONCURRENCY string = string(jobsPerSession)
