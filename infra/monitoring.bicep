// Logs and metrics. Every write needs an authenticated identity.
param location string
param tags object
param workspace string
param insights string
param keepDays int
@description('Daily cap for logs in gigabytes; further logs of that day are discarded. -1: no cap.')
param logsPerDay int

resource logs 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: workspace
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: keepDays
    workspaceCapping: { dailyQuotaGb: logsPerDay }
    features: { enableLogAccessUsingOnlyResourcePermissions: true, disableLocalAuth: true }
  }
}

resource component 'Microsoft.Insights/components@2020-02-02' = {
  name: insights
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: logs.id
    DisableLocalAuth: true
  }
}

output workspaceId string = logs.id
output insightsId string = component.id
output insightsName string = component.name
output connectionString string = component.properties.ConnectionString
