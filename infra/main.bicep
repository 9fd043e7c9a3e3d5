// All Azure resources of the pipeline, in one resource group. scripts/deploy deploys this file; docs/deploy.md explains it.
targetScope = 'subscription'

@description('Name of the azd environment: a short word for this installation, such as `photos-test`.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region. It must offer session pools (Microsoft.App/sessionPools) and Functions Flex Consumption.')
@minLength(1)
@metadata({ azd: { type: 'location' } })
param location string

@description('`try` is the cheapest: a small pool of the built-in interpreter, no warm capacity, no alerts. `production` has a custom session image, redundancy within the region, ready sessions and alerts.')
@allowed(['try', 'production'])
param preset string = 'try'

@description('Kind of session pool. `python`: the built-in interpreter with its Pillow, billed per session and hour. `image`: the container of session_image/, billed per node. Empty: the preset decides.')
@allowed(['', 'python', 'image'])
param poolKind string = ''

@description('Maximum concurrent sessions. 0: the preset decides.')
@minValue(0)
@maxValue(600)
param maxSessions int = 0

@description('Ready sessions, which cost as much as used ones. -1: the preset decides.')
@minValue(-1)
@maxValue(600)
param readySessions int = -1

@description('Cooldown in seconds: an idle session ends after this time and frees its place in the pool.')
@minValue(300)
@maxValue(3600)
param cooldownSeconds int = 300

@description('The session image, as `scripts/image push` prints it. Empty until the image is pushed; a pool of kind `image` cannot exist before.')
param sessionImage string = ''

@description('Concurrent jobs in a session; the transfers of one overlap with the execution of another.')
@minValue(1)
@maxValue(8)
param jobsPerSession int = 2

@description('Concurrent uploads per session. Small images wait in the queue of a session, so that several share one execution (a microbatch). A pool with a higher latency needs a higher value.')
@minValue(1)
@maxValue(32)
param uploadsPerSession int = 12

@description('The lowest instance limit that the region accepts for a function app. Some regions still reject less than 40.')
@minValue(1)
@maxValue(1000)
param leastInstances int = 1

@description('Memory of an instance in MiB. The images of jobs are streamed; the bodies of HTTP requests are in memory.')
@allowed([2048, 4096])
param instanceMemory int = 2048

@description('Maximum size in MiB of the body of an HTTP request or response. The larger it is, the fewer requests an instance processes at once.')
@minValue(1)
@maxValue(100)
param httpBodyMemory int = 16

@description('true: disable public access to storage and create a virtual network with private endpoints. External clients then upload through the HTTP API.')
param networkIsolation bool = false

@description('Redundancy of the storage account, such as `Standard_LRS`. Empty: the preset decides. Only a migration can add or remove zone redundancy of an existing account, not a deployment.')
@allowed(['', 'Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_RAGRS', 'Standard_GZRS', 'Standard_RAGZRS'])
param storageRedundancy string = ''

@description('E-mail address for alerts. Empty: alerts appear only in the portal.')
param alertEmail string = ''

@description('The principal that deploys. It gets access to storage and pool, for the smoke test after the deployment and for `python -m pipeline`. Empty: none.')
param principalId string = ''

@description('Type of `principalId`: `User` or, in a CI pipeline, `ServicePrincipal`.')
@allowed(['User', 'ServicePrincipal'])
param principalType string = 'User'

var presets = {
  try: { pool: 'python', sessions: 5, ready: 0, redundancy: 'Standard_LRS', registry: 'Basic', keepDays: 30, logsPerDay: 1, warm: 0, alerts: false }
  production: { pool: 'image', sessions: 20, ready: 2, redundancy: 'Standard_ZRS', registry: 'Standard', keepDays: 90, logsPerDay: -1, warm: 1, alerts: true }
}
var chosen = presets[preset]
var kind = empty(poolKind) ? chosen.pool : poolKind
// A custom-container pool needs its image first. Until the image exists, the app is not created or changed, because it would
// have no pool.
var waits = kind == 'image' && empty(sessionImage)

// Sizes. A session processes `jobsPerSession` jobs at once, and an instance up to 16 jobs of a kind (queue, requests). The
// number of instances is the lowest that can fill all sessions, so that waiting jobs wait in the queue. The concurrency of
// uploads is higher, because a session executes small images in microbatches of a dozen.
var sessions = maxSessions == 0 ? chosen.sessions : maxSessions
var readyByPreset = kind == 'image' ? chosen.ready : 0
var ready = min(readySessions < 0 ? readyByPreset : readySessions, sessions)
var capacity = sessions * jobsPerSession
var instances = max(leastInstances, (capacity + 15) / 16)
var jobsPerInstance = max(1, capacity / instances)
// Memory of an instance that processes HTTP requests, in MiB: a base for the Functions host, the worker and the transfers of
// jobs, and six copies of a body of the maximum size for each request. Four copies are the platform's, two are in the app's
// own budget (docs/architecture.md). pipeline/cli/memory.py checks the same formula.
var baseMemory = 512
var requestsPerInstance = min(32, (instanceMemory - baseMemory) / (httpBodyMemory * 6))
var httpBodyBytes = httpBodyMemory * 1024 * 1024
var uploadsPerInstance = max(1, sessions * max(uploadsPerSession, jobsPerSession) / instances)

// Names. Globally unique names contain a hash of subscription, name and region: 13 letters and digits.
var token = toLower(uniqueString(subscription().id, environmentName, location))
var names = {
  // Ends in a word, because the name of a resource group must not end in a period.
  group: 'rg-${environmentName}-images'
  storage: 'stimages${token}'
  registry: 'crimages${token}'
  app: 'func-images-${token}'
  plan: 'plan-images-${token}'
  identity: 'id-images-${token}'
  poolIdentity: 'id-sessions-${token}'
  eventIdentity: 'id-events-${token}'
  // Without a hyphen, as the service's documentation of the name. With the kind, because a pool cannot change its kind.
  pool: 'sessions${kind}${token}'
  environment: 'cae-images-${token}'
  workspace: 'log-images-${token}'
  insights: 'appi-images-${token}'
  topic: 'evgt-images-${token}'
  network: 'vnet-images-${token}'
}
var tags = { 'azd-env-name': environmentName }

// The same as the defaults in pipeline/settings; a test compares them.
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
  // The pool pulls its image during its creation, so it needs the role before.
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
    uploadsPerInstance: uploadsPerInstance
    instanceMemory: instanceMemory
    requestsPerInstance: requestsPerInstance
    httpBodyBytes: httpBodyBytes
    warmInstances: chosen.warm
    places: places
    subnet: networkIsolation ? network!.outputs.appSubnet : ''
  }
  // The host uses the identity at its start, and backs off if access is denied.
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

// azd stores these outputs in .azure/<environment>/.env; scripts/deploy reads them.
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
output OUTPUT_CONTAINER string = any(loadJsonContent('app-settings.json')).?PIPELINE_OUTPUT_CONTAINER ?? places.output
output POOL_NAME string = names.pool
output REGISTRY_NAME string = kind == 'image' ? registry!.outputs.name : ''
output NETWORK_ISOLATION bool = networkIsolation

// Settings for `python -m pipeline` on this installation.
output IMAGES__blobServiceUri string = storage.outputs.endpoints.blob
output IMAGES__queueServiceUri string = storage.outputs.endpoints.queue
output IMAGES__tableServiceUri string = storage.outputs.endpoints.table
output PIPELINE_POOL_ENDPOINT string = pool.outputs.endpoint
output PIPELINE_POOL_MAX_SESSIONS string = string(sessions)
output PIPELINE_POOL_COOLDOWN string = string(cooldownSeconds)
output PIPELINE_SESSION_CONCURRENCY string = string(jobsPerSession)
output PIPELINE_HTTP_MAX_BODY_BYTES string = string(httpBodyBytes)
output PIPELINE_HTTP_MAX_RESPONSE_BYTES string = string(httpBodyBytes)
output PIPELINE_HTTP_MEMORY_BYTES string = string(requestsPerInstance * 2 * httpBodyBytes)
output PIPELINE_HTTP_CONCURRENCY string = string(requestsPerInstance)
output PIPELINE_INSTANCE_MEMORY_MIB string = string(instanceMemory)
