// Alerts. The log searches match lines that the pipeline writes; a test checks that these lines exist in the code.
param location string
param tags object
param insights string
param topic string
param email string
param queue string

resource receivers 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: 'images'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'images'
    emailReceivers: [{ name: 'mail', emailAddress: email, useCommonAlertSchema: true }]
  }
}

var groups = empty(email) ? [] : [receivers.id]

var searches = [
  {
    name: 'images-poison'
    severity: 1
    window: 'PT15M'
    above: 0
    query: 'traces | where message has "MaxDequeueCount" and message has "poison"'
    means: 'Dead letter of ${queue} or another queue: a bug, a crash, or for uploads a short outage of storage. An upload is tried once more. Any other job is a failure of kind undeliverable.'
  }
  {
    name: 'images-failures'
    severity: 2
    window: 'PT1H'
    above: 20
    query: 'traces | where message has "event=job.failed"'
    means: 'More than 20 jobs failed within an hour. The ledger has the reasons: python -m pipeline failures.'
  }
  {
    name: 'images-saturation'
    severity: 3
    window: 'PT15M'
    above: 50
    query: 'traces | where message has "event=job.deferred"'
    means: 'Jobs wait for sessions and are processed later. If this delay is too long, raise the pool limit MAX_SESSIONS.'
  }
  {
    name: 'images-no-events'
    severity: 2
    window: 'P1D'
    above: 0
    query: 'traces | where message has "event=run.missed_jobs_found"'
    means: 'The scheduled run found sources whose event has started no job, or a recipe was added. It processes them now. Check that the Event Grid subscription exists and delivers events.'
  }
  {
    name: 'images-slow-round'
    severity: 2
    window: 'P1D'
    above: 0
    query: 'traces | where message has "event=run.round_slow"'
    means: 'More jobs are due than the scheduled runs process: a round over all of them takes more than seven nights. Raise the setting that the log line names, or start a run.'
  }
  {
    name: 'images-breaker'
    severity: 1
    window: 'PT15M'
    above: 0
    query: 'traces | where message has "event=breaker.opened"'
    means: 'A service does not work: the session pool, storage or the identity. Jobs wait and nothing is lost. The log line names the service and its fault.'
  }
  {
    name: 'images-retention'
    severity: 3
    window: 'P1D'
    above: 0
    query: 'traces | where message has "event=retention.failed"'
    means: 'Old bookkeeping could not be deleted. Jobs are not affected, but the tables grow if it fails each time. The log line names the kind and the error.'
  }
  {
    name: 'images-cost'
    severity: 1
    window: 'PT15M'
    above: 0
    query: 'traces | where message has_any ("event=cost.month_cap_reached", "event=run.cost_paused", "event=run.schedule_refused")'
    means: 'A cap on the cost holds work, and nothing is lost. Uploads wait for the next month or a higher PIPELINE_MONTH_MAX_COST; a paused run waits until a user resumes it with a higher cap.'
  }
  {
    name: 'images-operator'
    severity: 2
    window: 'PT15M'
    above: 0
    query: 'traces | where message has_any ("event=app.outdated", "event=run.stopped", "event=dead_letter.kept")'
    means: 'Something waits for an operator: an instance below the minimum version, a run that stopped, or an undelivered event that the app cannot use. The log line names the remedy or the reason.'
  }
]

resource search 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for each in searches: {
    name: each.name
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: each.name
      description: each.means
      severity: each.severity
      enabled: true
      scopes: [insights]
      evaluationFrequency: each.window
      windowSize: each.window
      criteria: {
        allOf: [
          {
            query: each.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: each.above
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      autoMitigate: true
      actions: { actionGroups: groups }
    }
  }
]

var deliveries = [
  { name: 'images-dead-letters', metric: 'DeadLetteredCount', above: 0, severity: 1, means: 'The app refused events, and Event Grid stored them in the dead-letter container. The app queues their jobs within ten minutes. Find out why it refused them.' }
  { name: 'images-deliveries', metric: 'DeliveryAttemptFailCount', above: 50, severity: 2, means: 'The app does not accept events. Check that it runs and that its settings are valid.' }
]

resource delivery 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for each in deliveries: {
    name: each.name
    location: 'global'
    tags: tags
    properties: {
      description: each.means
      severity: each.severity
      enabled: true
      scopes: [topic]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      autoMitigate: true
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            criterionType: 'StaticThresholdCriterion'
            name: each.metric
            metricName: each.metric
            operator: 'GreaterThan'
            threshold: each.above
            timeAggregation: 'Total'
          }
        ]
      }
      actions: map(groups, group => { actionGroupId: group })
    }
  }
]
