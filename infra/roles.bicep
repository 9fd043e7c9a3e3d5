// Role assignments, each scoped to one resource. Event Grid's role is in storage.bicep, the pool's in registry.bicep.
param storage string
param insights string
@description('The session pool; empty until its image exists.')
param pool string
@description('The principal of the function app.')
param app string
@description('The principal of the user or pipeline that deploys; empty for none.')
param person string
param personType string

var blobOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
var blobContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var queueContributor = '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
var tableContributor = '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
var metricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'
var sessionExecutor = '0fb8eba5-a2bb-4abe-b1c1-49dfad359bb0'

var onStorage = concat(
  [
    { who: app, type: 'ServicePrincipal', role: blobOwner, why: 'Sources, renditions, slots and their leases, index tags, dead-lettered events; the host stores its locks in blobs.' }
    { who: app, type: 'ServicePrincipal', role: queueContributor, why: 'Queued jobs; the host stores blob events and dead letters in queues.' }
    { who: app, type: 'ServicePrincipal', role: tableContributor, why: 'The ledger.' }
  ],
  empty(person) ? [] : [
    { who: person, type: personType, role: blobContributor, why: 'The smoke test after a deployment uploads a photo; python -m pipeline reads and writes blobs.' }
    { who: person, type: personType, role: queueContributor, why: 'python -m pipeline retry and reprocess put jobs in the queues.' }
    { who: person, type: personType, role: tableContributor, why: 'python -m pipeline failures and retry work on the ledger.' }
  ]
)
var onPool = concat(
  [{ who: app, type: 'ServicePrincipal', role: sessionExecutor, why: 'Executes transforms in sessions.' }],
  empty(person) ? [] : [{ who: person, type: personType, role: sessionExecutor, why: 'python -m pipeline drain ends sessions.' }]
)

resource account 'Microsoft.Storage/storageAccounts@2025-08-01' existing = {
  name: storage
}

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insights
}

resource sessions 'Microsoft.App/sessionPools@2026-01-01' existing = {
  name: empty(pool) ? 'none' : pool
}

resource storageRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for each in onStorage: {
    name: guid(account.id, each.who, each.role)
    scope: account
    properties: {
      principalId: each.who
      principalType: each.type
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
      description: each.why
    }
  }
]

resource poolRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for each in onPool: if (!empty(pool)) {
    name: guid(sessions.id, each.who, each.role)
    scope: sessions
    properties: {
      principalId: each.who
      principalType: each.type
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
      description: each.why
    }
  }
]

resource telemetryRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(component.id, app, metricsPublisher)
  scope: component
  properties: {
    principalId: app
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', metricsPublisher)
    description: 'Writes logs and metrics.'
  }
}
